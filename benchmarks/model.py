"""What a goal gives: measured lines, and checks of figures against limits."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Series:
    """The values of several rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        """``2.41 (2.38-2.60)``: the median, and the spread where there is one."""
        digits = 0 if self.median >= 1000 else 1 if self.median >= 100 else 2
        spread = f" ({min(self.values):.{digits}f}-{max(self.values):.{digits}f})" if len(self.values) > 1 else ""
        return f"{self.median:.{digits}f}{spread}"


@dataclass(frozen=True, slots=True)
class Line:
    """One program at one size: columns of figures, each over the rounds."""

    name: str
    figures: Mapping[str, Series]


@dataclass(frozen=True, slots=True)
class Check:
    """``figure`` must not be above ``limit`` (below it, if ``at_least``)."""

    what: str
    figure: float
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def __str__(self) -> str:
        sign = ("≥" if self.at_least else "≤") if self.met else ("<" if self.at_least else ">")
        return f"{self.figure:.3g} {sign} {self.limit:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class GoalResult:
    """``notes`` say what the figures do not."""

    number: int
    title: str
    lines: Sequence[Line]
    checks: Sequence[Check]
    notes: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def met(self) -> bool:
        return all(check.met for check in self.checks)


@dataclass(slots=True)
class Rounds:
    """Collects what the rounds gave, by line and column, in the order in which lines first appear."""

    _found: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, name: str, **figures: float) -> None:
        line = self._found.setdefault(name, {})
        for column, value in figures.items():
            line.setdefault(column, []).append(value)

    def lines(self) -> list[Line]:
        return [
            Line(name, {column: Series(tuple(values)) for column, values in line.items()})
            for name, line in self._found.items()
        ]

    def median(self, name: str, column: str) -> float:
        return statistics.median(self._found[name][column])

    def ratio(self, name: str, other: str, column: str) -> float:
        """Of two lines' medians, in one run: the machine's noise is in both."""
        return self.median(name, column) / self.median(other, column)
