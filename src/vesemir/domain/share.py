"""A share of something counted: a plain number or a percentage, and how each is rounded (contract section 2)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """``amount`` things, or ``amount`` percent of a total."""

    amount: int
    percent: bool = False

    @classmethod
    def of(cls, value: int | str) -> "Share":
        """``3`` or ``"25%"``; the text's form was checked at the edge."""
        if isinstance(value, int):
            return cls(value)
        return cls(int(value.removesuffix("%")), percent=True)

    def down(self, total: int, *, at_least: int = 0) -> int:
        """Rounded down, but no less than ``at_least`` (a concurrency of 25 % of three hosts is one, not none)."""
        count = self.amount * total // 100 if self.percent else self.amount
        return max(count, at_least)

    def up(self, total: int) -> int:
        """Rounded up: capacity that must stay is never rounded away."""
        return -(-self.amount * total // 100) if self.percent else self.amount

    def __str__(self) -> str:
        return f"{self.amount}%" if self.percent else str(self.amount)
