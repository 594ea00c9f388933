"""Commands to paste: what one does in a line, and the command below it, alone and whole however narrow the terminal."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType

from vesemir.cli.output import text

INDENT = "    "
"""Also where the runbook is shown: a command is what is indented so."""


def advice(commands: Iterable[tuple[str, str]]) -> Iterator[RenderableType]:
    """``(what it does, the command)``; one that was shown already is not shown again."""
    shown = set()
    for what, command in commands:
        if command not in shown:
            shown.add(command)
            yield text(f"{what}:")
            yield text(f"{INDENT}{command}")
