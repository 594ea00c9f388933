"""Lists of names in the operator's rules, where ``*`` stands for any text; pure."""

import re
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Names:
    """Names that are meant; ``*`` in one stands for any text (``shop-*``)."""

    patterns: tuple[str, ...]

    def has(self, name: str | None) -> bool:
        return name is not None and any(fits(pattern, name) for pattern in self.patterns)

    def __str__(self) -> str:
        return ", ".join(self.patterns)


def fits(pattern: str, name: str) -> bool:
    """Whether the whole name is as the pattern says."""
    return _compiled(pattern).fullmatch(name) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
