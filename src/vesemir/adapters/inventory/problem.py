"""What is wrong with an inventory file, with the line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vesemir.domain.failure import VesemirError


@dataclass(frozen=True, slots=True)
class InventoryProblem:
    file: Path
    line: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}" if self.line is None else f"{self.file}:{self.line}: {self.reason}"


class InventoryFileError(VesemirError):
    """An inventory file that cannot be used; ``problems`` has everything that is wrong with it."""

    def __init__(self, problems: Sequence[InventoryProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Findings:
    """Collects the problems of one file while it is read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._problems: list[InventoryProblem] = []

    def add(self, line: int | None, reason: str) -> None:
        self._problems.append(InventoryProblem(self._file, line, reason))

    def fatal(self, line: int | None, reason: str) -> InventoryFileError:
        """The error to raise when nothing more can be read."""
        self.add(line, reason)
        return InventoryFileError(self._problems)

    def raise_any(self) -> None:
        """Raise ``InventoryFileError`` if anything was found."""
        if self._problems:
            raise InventoryFileError(sorted(self._problems, key=lambda problem: problem.line or 0))
