"""The tries of one check: whether it has passed for long enough, and in words what was seen."""


class CheckTries:
    """Times are in seconds since the check began. A failing try begins the time anew that it must pass for."""

    def __init__(self, stable_seconds: float) -> None:
        self._stable_seconds = stable_seconds
        self._since: float | None = None
        self._first = 0
        self._longest = 0.0
        self._reason = ""
        self._failed = 0
        self.count = 0
        """Tries so far."""

    def seen(self, reason: str | None, at: float) -> bool:
        """Whether the check has passed with this try, which ended then; ``reason`` is why the try did not."""
        self.count += 1
        if reason is not None:
            self._failed += 1
            self._reason, self._since = reason, None
            return False
        if self._since is None:
            self._since, self._first = at, self.count
        held = at - self._since
        self._longest = max(self._longest, held)
        return held >= self._stable_seconds

    def pause(self, interval: float, at: float) -> float:
        """Until the next try: the last one comes as soon as it may decide."""
        return interval if self._since is None else min(interval, self._since + self._stable_seconds - at)

    @property
    def words_of_pass(self) -> str:
        held = f" and for {self._stable_seconds:g} s from then on" if self._stable_seconds else ""
        return f"passed at try {self._first}{held}"

    @property
    def words_so_far(self) -> str:
        """Of a check that passes and must go on passing."""
        return f"passes; must hold for {self._stable_seconds:g} s"

    @property
    def words_of_failure(self) -> str:
        """Why it has not passed when its deadline is over: the last reason, and how near it came."""
        if self._failed == self.count:
            return self._reason
        needed = f"it must pass for {self._stable_seconds:g} s without a failing try (stable_seconds)"
        last = f", the last: {self._reason}" if self._failed else ""
        held = f"and did for {self._longest:.1f} s at most"
        return f"{needed} {held}; {self._failed} of {self.count} tries failed{last}"

    def counted(self, elapsed: float) -> str:
        return f"({self.count} tries in {elapsed:.1f} s)"
