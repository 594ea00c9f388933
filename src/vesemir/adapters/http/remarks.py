"""What clients do wrong, in the log: a line the first time, then one a minute with how often it was seen meanwhile.

Who wants to can send a hundred thousand bad requests a minute; the log must not grow with them, and the count must not
be lost.
"""

import asyncio
from dataclasses import dataclass

from vesemir.engine.ports.observe import Log

EVERY_SECONDS = 60.0


@dataclass(slots=True)
class _Seen:
    """``count`` and ``address`` are of what no line has said yet."""

    due: asyncio.TimerHandle
    count: int = 0
    address: str = ""


class CountedRemarks:
    """``note`` may be called any number of times; ``what`` is one of a few fixed texts. ``close`` says the rest."""

    def __init__(self, log: Log, *, every: float = EVERY_SECONDS) -> None:
        self._log = log
        self._every = every
        self._seen: dict[str, _Seen] = {}

    def note(self, what: str, address: str) -> None:
        """Nothing that the client sent belongs into ``what``: only what it did."""
        seen = self._seen.get(what)
        if seen is None:
            self._log.warning("HTTP: {what} (from {address})", what=what, address=address or "an unknown address")
            self._seen[what] = _Seen(self._report_later(what))
        else:
            seen.count += 1
            seen.address = address

    def close(self) -> None:
        for what, seen in self._seen.items():
            seen.due.cancel()
            self._say(what, seen)
        self._seen.clear()

    def _report_later(self, what: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._every, self._report, what)

    def _report(self, what: str) -> None:
        """Say how often, and go on counting; after a minute without any, the next is a line again."""
        seen = self._seen.pop(what)
        self._say(what, seen)
        if seen.count:
            self._seen[what] = _Seen(self._report_later(what))

    def _say(self, what: str, seen: _Seen) -> None:
        if seen.count:
            self._log.warning(
                "HTTP: {what} ({count} times more within {seconds:.0f} s, the last from {address})",
                what=what,
                count=seen.count,
                seconds=self._every,
                address=seen.address or "an unknown address",
            )
