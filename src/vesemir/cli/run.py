"""``vesemir run``: the daemon."""

import typer

from vesemir.cli.configuration import load_settings


def run_command() -> None:
    """Run the daemon: take deploy events, carry them out, publish what happened; until SIGTERM.

    Settings come from the file named by VESEMIR_CONFIG and from VESEMIR_* variables. The log goes to stdout.
    """
    settings = load_settings()
    from vesemir.service import run  # noqa: PLC0415 -- imports every driver: after the settings were found good

    raise typer.Exit(run(settings))
