"""Places where a test can have the process die, as a crash would: at once, nothing flushed, nothing closed.

``VESEMIR_FAILPOINT=name`` or ``name:3`` (the third time it is reached). Without the variable nothing happens. The chaos
suite goes through all of them (docs/reliability.md). Two more variables are for a daemon that systemd starts again,
with the same environment: with ``VESEMIR_FAILPOINT_ONCE=file`` it happens only when that file is there, and takes it
away; with ``VESEMIR_FAILPOINT_DEED=block`` the event loop is blocked for ever instead, which the watchdog must notice.
"""

import os
import time
from collections import Counter
from enum import StrEnum
from functools import cache
from pathlib import Path

EXIT_STATUS = 86


class Failpoint(StrEnum):
    """Around every commit, publish and acknowledgement whose order matters."""

    BEFORE_INSERT = "intake.before_insert"
    BEFORE_ACKNOWLEDGE = "intake.before_acknowledge"
    PREPARED = "target.prepared"
    BEFORE_SEND = "step.before_send"
    BEFORE_RECORD = "step.before_record"
    AFTER_COMMIT = "recorder.after_commit"
    BEFORE_MARK = "publishing.before_mark"
    LOOP_TURN = "loop.turn"
    """About once a second, whatever else goes on."""


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
    if name != place or not _is_time():
        return
    _reached()[name] += 1
    if _reached()[name] == count:
        _strike()


def _is_time() -> bool:
    once = os.environ.get("VESEMIR_FAILPOINT_ONCE")
    return once is None or Path(once).exists()


def _strike() -> None:
    once = os.environ.get("VESEMIR_FAILPOINT_ONCE")
    if once is not None:
        Path(once).unlink()
    while os.environ.get("VESEMIR_FAILPOINT_DEED") == "block":
        time.sleep(3600)
    os._exit(EXIT_STATUS)
