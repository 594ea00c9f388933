"""What all commands of ``vesemir lab`` share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vesemir.domain.failure import VesemirError

Folder = Annotated[Path, typer.Option("--dir", metavar="DIR", help="The lab's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

DEFAULT_FOLDER = Path(".lab")


def reporting(work: Callable[[], int]) -> int:
    """Run ``work``; an error that the user can fix becomes its message and exit status 1."""
    try:
        return work()
    except VesemirError as error:
        Console(stderr=True).print(f"vesemir lab: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 1
