"""Options that several commands have to say which rows of the record they show."""

from typing import Annotated

import typer

OnlyApplication = Annotated[
    str | None, typer.Option("--application", "-a", metavar="NAME", help="Only of this application.")
]
OnlyEnvironment = Annotated[
    str | None, typer.Option("--environment", "-e", metavar="NAME", help="Only in this environment.")
]
HowMany = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=10_000, help="How many.")]
