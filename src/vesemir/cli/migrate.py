"""``vesemir migrate``: the database's schema, up to this version."""

import asyncio
from typing import Annotated

import typer

from vesemir.adapters.postgres import migrate
from vesemir.cli.configuration import load_settings
from vesemir.cli.output import count, print_json, show


def migrate_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Bring the database's schema up to this version. May be run again, and by several instances at once."""
    applied = asyncio.run(migrate(load_settings().postgres.dsn.get_secret_value()))
    if as_json:
        print_json({"applied": applied})
        return
    for name in applied:
        show(f"applied  {name}")
    show(f"The schema is up to date: {count(len(applied), 'migration')} applied.")
