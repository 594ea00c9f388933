"""Places where a test can have the process die, as a crash would: at once, nothing flushed, nothing closed.

``VESEMIR_FAILPOINT=name`` or ``name:3`` (the third time it is reached). Without the variable nothing happens. The chaos
suite goes through all of them (docs/reliability.md).
"""

import os
from collections import Counter
from enum import StrEnum
from functools import cache

EXIT_STATUS = 86


class Failpoint(StrEnum):
    """Around every commit, publish and acknowledgement whose order matters."""

    BEFORE_INSERT = "intake.before_insert"
    BEFORE_ACKNOWLEDGE = "intake.before_acknowledge"
    BEFORE_SEND = "step.before_send"
    BEFORE_RECORD = "step.before_record"
    AFTER_COMMIT = "recorder.after_commit"
    BEFORE_MARK = "publishing.before_mark"


@cache
def _armed() -> tuple[str, int]:
    name, _, count = os.environ.get("VESEMIR_FAILPOINT", "").partition(":")
    return name, int(count or 1)


@cache
def _reached() -> Counter[str]:
    return Counter()


def reach(place: Failpoint) -> None:
    """Die here if that was asked for."""
    name, count = _armed()
    if name != place:
        return
    _reached()[name] += 1
    if _reached()[name] == count:
        os._exit(EXIT_STATUS)
