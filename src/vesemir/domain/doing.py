"""What a target is doing right now: its running step, since when, and what it saw last. A hint for who looks; pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vesemir.domain.step import Direction
from vesemir.domain.visible import words_of_host

PhaseName = Literal["prepare", "target", "rollback"]
"""As ``step.finished`` has it (contract 3)."""

LONGEST_ERROR = 300
DOING_SECONDS = 5.0
"""What a target does is not shown any more when its owner was silent for so long: it writes every 2 s."""


@dataclass(frozen=True, slots=True)
class Doing:
    """``since`` is RFC 3339 in UTC. ``attempts`` counts the tries of a check, or those of another step, from 1.

    ``last_error`` is the last answer of a check, or what a wait saw last; None where there is none yet.
    """

    target: str
    step: str
    phase: PhaseName
    since: str
    attempts: int
    last_error: str | None

    @classmethod
    def of_json(cls, recorded: Mapping[str, Any]) -> "Doing":
        """What another version has written beside these fields is left alone."""
        return cls(**{name: recorded[name] for name in cls.__slots__})

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def phase_of(direction: Direction) -> PhaseName:
    """Of a step that is not one of ``prepare``."""
    return "rollback" if direction is Direction.BACK else "target"


def last_words(text: str) -> str | None:
    """An answer on one line, with nothing hidden in it, cut to ``LONGEST_ERROR``; secrets are out of it already."""
    line = words_of_host(text, longest=LONGEST_ERROR)
    return (line if len(line) <= LONGEST_ERROR else f"{line[: LONGEST_ERROR - 1]}…") or None
