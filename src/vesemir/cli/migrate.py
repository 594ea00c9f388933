"""``vesemir migrate``: the database's schema, up to this version."""

import asyncio
from typing import Annotated

import typer

from vesemir.adapters.postgres import migrate
from vesemir.adapters.postgres.restored import accept_repeats, mark_restored
from vesemir.cli.configuration import load_settings
from vesemir.cli.output import count, print_json, show


def migrate_command(
    restored: Annotated[
        bool,
        typer.Option("--restored", help="The database was restored from a backup: raise the epochs, and be careful."),
    ] = False,
    repeats: Annotated[
        bool, typer.Option("--accept-repeats", help="After --restored: take events again that are older than it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Bring the database's schema up to this version. May be run again, and by several instances at once."""
    if restored and repeats:
        raise typer.BadParameter("--restored and --accept-repeats are two steps: see what ran in between")
    dsn = load_settings().postgres.dsn.get_secret_value()
    applied = asyncio.run(migrate(dsn))
    epoch = asyncio.run(mark_restored(dsn)) if restored else None
    accepted = asyncio.run(accept_repeats(dsn)) if repeats else []
    if as_json:
        own = ({"epoch": epoch} if restored else {}) | ({"accepted": len(accepted)} if repeats else {})
        print_json({"applied": applied, **own})
        return
    _show_schema(applied)
    if restored:
        show(
            f"The record is marked as restored; its epochs go on after {epoch}. Ids that it does not know are refused "
            "with request.conflict if their event was sent before now, until `vesemir migrate --accept-repeats`."
        )
    if repeats:
        show("Older events are taken again." if accepted else "There was no restore to accept repeats of.")


def _show_schema(applied: list[str]) -> None:
    for name in applied:
        show(f"applied  {name}")
    show(f"The schema is up to date: {count(len(applied), 'migration')} applied.")
