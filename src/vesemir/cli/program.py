"""The command ``vesemir``: which commands there are, and what becomes of the errors that they end with.

Only the command that is used is imported: drivers take seconds to import on a small machine, and ``--help`` must not.
"""

import gc
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from vesemir.cli.complaint import INTERRUPTED, complain
from vesemir.cli.misspelt import SuggestingGroup, plain_reason
from vesemir.cli.output import say
from vesemir.domain.failure import VesemirError

_Private = Any
"""Typer's own classes of contexts and commands are not public."""


@dataclass(frozen=True, slots=True)
class HelpEntry:
    """Where a command is, and its line in ``vesemir --help``. ``attribute`` is a function or a Typer."""

    module: str
    attribute: str
    help: str


COMMANDS: Mapping[str, HelpEntry] = {
    "run": HelpEntry("vesemir.cli.run", "run_command", "Run the daemon until SIGTERM."),
    "check": HelpEntry(
        "vesemir.cli.check", "check_command", "Check settings, recipes, broker, database, inventory, keys."
    ),
    "migrate": HelpEntry("vesemir.cli.migrate", "migrate_command", "Bring the database's schema up to this version."),
    "deploy": HelpEntry("vesemir.cli.deploy", "deploy_command", "Ask for a deployment, and follow it."),
    "plan": HelpEntry("vesemir.cli.plan", "plan_command", "Show what a deployment would do: a dry run."),
    "status": HelpEntry("vesemir.cli.status", "status_command", "Show one deployment, or what goes on."),
    "logs": HelpEntry("vesemir.cli.logs", "logs_command", "Print what the steps of a deployment printed."),
    "cancel": HelpEntry("vesemir.cli.control", "cancel_command", "End a deployment: nothing more starts."),
    "pause": HelpEntry("vesemir.cli.control", "pause_command", "Let targets in work finish, and start no other."),
    "resume": HelpEntry("vesemir.cli.control", "resume_command", "Go on with a paused deployment, or approve it."),
    "ready": HelpEntry("vesemir.cli.servers", "ready_command", "Put servers back that were left without traffic."),
    "drain": HelpEntry("vesemir.cli.servers", "drain_command", "Take servers out of traffic until `vesemir ready`."),
    "lock": HelpEntry("vesemir.cli.lanes", "lock_command", "Let nothing new begin in a lane until `vesemir unlock`."),
    "unlock": HelpEntry("vesemir.cli.lanes", "unlock_command", "Let deployments begin in a lane again."),
    "rollback": HelpEntry("vesemir.cli.rollback", "rollback_command", "Deploy the previous good release again."),
    "history": HelpEntry("vesemir.cli.history", "history_command", "List deployments, newest first."),
    "stats": HelpEntry("vesemir.cli.stats", "stats_command", "Show success and defect rates against the time before."),
    "audit": HelpEntry("vesemir.cli.audit", "audit_app", "Show who asked for what, and verify it."),
    "policy": HelpEntry("vesemir.cli.policy", "policy_app", "Tell what the policy would decide, and check it."),
    "explain": HelpEntry("vesemir.cli.explain", "explain_command", "Print the runbook's entry of a failure code."),
    "schema": HelpEntry("vesemir.cli.schema", "schema_command", "Show what messages look like."),
    "lab": HelpEntry("vesemir.cli.lab", "lab_app", "A private installation of everything, to try it out."),
}


class Program(SuggestingGroup):
    """Imports a command when it is used, and tells expected errors in one line instead of a traceback."""

    def list_commands(self, ctx: _Private) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: _Private, cmd_name: str) -> _Private:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        if ctx.meta.get(_ONLY_NAMES):
            return TyperCommand(cmd_name, help=entry.help)
        return _loaded(cmd_name, entry)

    def format_commands(self, ctx: _Private, formatter: _Private) -> None:
        """The list in ``--help`` needs the names and lines only."""
        ctx.meta[_ONLY_NAMES] = True
        super().format_commands(ctx, formatter)

    def invoke(self, ctx: _Private) -> _Private:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except typer.BadParameter as error:
            error.message = plain_reason(error.message)
            raise

    def main(self, *args: _Private, **extra: _Private) -> _Private:
        """Typer deals with usage errors (exit status 2) and exits; what else is expected ends here."""
        try:
            return super().main(*args, **extra)
        except VesemirError as error:
            sys.exit(complain(error))


_ONLY_NAMES = "vesemir.only_names"


def _loaded(name: str, entry: HelpEntry) -> _Private:
    """The command itself. Help and usage errors are plain text: rich would cost more than the rest of the start."""
    found = getattr(importlib.import_module(entry.module), entry.attribute)
    gc.enable()
    carrier = typer.Typer(rich_markup_mode=None, add_completion=False)
    carrier.callback()(_nothing)
    if isinstance(found, typer.Typer):
        carrier.add_typer(found, name=name)
    else:
        carrier.command(name)(found)
    commands: Mapping[str, Any] = getattr(get_command(carrier), "commands")  # noqa: B009 - not in typer's public types
    return commands[name]


def _nothing() -> None:
    """Makes a Typer of one command a group."""


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 -- only here, and slow

        print(f"vesemir {version('vesemir')}")
        raise typer.Exit


app = typer.Typer(
    cls=Program,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Bring releases to many machines: ask for deployments, watch them, and run the daemon that does them.

    Settings come from the file named by VESEMIR_CONFIG (default /etc/vesemir/vesemir.toml) and from VESEMIR_*
    variables. Tables are for people, --json is for programs. Exit status: 0 done, 1 not done, 2 wrong usage,
    130 Ctrl-C.
    """
    del version
