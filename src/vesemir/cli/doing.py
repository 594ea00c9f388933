"""What the targets do right now, in words: for ``status``, the live table, and the lines of ``--follow``. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import RenderableType

from vesemir.cli.output import count, paragraph, seconds_text, text
from vesemir.domain.doing import Doing
from vesemir.domain.visible import visible_line

_NAMED = 20
"""More targets than that are not written out."""


def since_of(doing: Doing) -> float:
    """Seconds since 1970, by the clock of its owner."""
    return datetime.fromisoformat(doing.since).timestamp()


def step_words(doing: Doing, seconds: float) -> str:
    """``check-version 12 s, try 5``."""
    prepare = " (prepare)" if doing.phase == "prepare" else ""
    tries = f", try {doing.attempts}" if doing.attempts > 1 else ""
    return visible_line(f"{doing.step}{prepare} {seconds_text(max(0.0, seconds))}{tries}")


def doing_words(doing: Doing, seconds: float) -> str:
    """``check-version 12 s, try 5: http://127.0.0.1/ answered 500``."""
    answer = f": {visible_line(doing.last_error)}" if doing.last_error else ""
    return f"{step_words(doing, seconds)}{answer}"


def doing_parts(doing: Sequence[Doing], *, wall: float) -> Iterator[RenderableType]:
    """A paragraph for each target; ``wall`` is the time of day."""
    for each in doing[:_NAMED]:
        words = doing_words(each, wall - since_of(each))
        yield paragraph(text(visible_line(each.target), "bold"), text(f": {words}"))
    if len(doing) > _NAMED:
        yield text(f"… and {count(len(doing) - _NAMED, 'more target')}: vesemir status ID --json has all of them")
