"""``vesemir audit``: who asked for what, and whether that is what was written."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.table import Table

from vesemir.adapters.postgres import Reader
from vesemir.adapters.postgres.audit_pruning import prune
from vesemir.adapters.postgres.audit_reading import VerifiedAudit
from vesemir.cli.complaint import ProblemsError, UsageError
from vesemir.cli.configuration import load_settings
from vesemir.cli.filters import HowMany, OnlyApplication, OnlyEnvironment
from vesemir.cli.history import moment_text
from vesemir.cli.identity import who_asks
from vesemir.cli.moment import moment_of
from vesemir.cli.output import count, print_json, show, table
from vesemir.cli.record import read
from vesemir.domain.audit import AUDIT_KINDS, AuditHead, AuditKind, AuditRow, heads_json, heads_of_text

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

audit_app = typer.Typer(
    help="Show who asked for what, when, from where, and what became of it; newest first.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@audit_app.callback()
def audit_command(
    ctx: typer.Context,
    deployment_id: Annotated[str | None, typer.Option("--deployment", metavar="ID", help="Only of this id.")] = None,
    application: OnlyApplication = None,
    environment: OnlyEnvironment = None,
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="KIND:NAME", help="Only by this identity: amqp:ci-shop.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="KIND", help=f"Only this kind: {', '.join(AUDIT_KINDS)}.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Since then: 2026-11-01, or 12h, 7d ago.")
    ] = None,
    limit: HowMany = 20,
    as_json: AsJson = False,
) -> None:
    """Show who asked for what, when, from where, and what became of it; newest first."""
    if ctx.invoked_subcommand is not None:
        return
    only, begin = _kind(kind), moment_of("--since", since, now=datetime.now(UTC))

    async def work(reader: Reader) -> list[AuditRow]:
        return await reader.find_audit(
            limit=limit,
            deployment_id=deployment_id,
            since=begin,
            kind=only,
            application=application,
            environment=environment,
            identity=identity,
        )

    rows = read(work)
    if as_json:
        print_json([row.as_json() for row in rows])
    elif rows:
        show(_table(rows))
    else:
        show("No such row is in the audit.")


@audit_app.command("verify")
def verify_command(
    head: Annotated[
        Path | None,
        typer.Option("--head", metavar="FILE", help="What was noted elsewhere: a log, or an earlier output of --json."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find rows that were changed, put in or removed. Exit status 1 if there are any.

    What was removed after the last row that is known elsewhere cannot be seen: give --head.
    """
    known = [] if head is None else _known(head)

    async def work(reader: Reader) -> VerifiedAudit:
        return await reader.verified_audit(known)

    audit = read(work)
    if as_json:
        found = [problem.as_json() for problem in audit.problems]
        counts = {"rows": audit.rows, "known": len(known), "found": audit.found}
        print_json({**counts, "problems": found, "heads": heads_json(audit.heads)})
        raise typer.Exit(1 if audit.problems else 0)
    if audit.problems:
        lines = [f"{problem.chain} row {problem.number}: {problem.message}" for problem in audit.problems]
        more = audit.found - len(lines)
        raise ProblemsError([*lines, *([f"and {count(more, 'problem')} more"] if more else [])])
    show(f"{count(audit.rows, 'row')} in {count(len(audit.heads), 'chain')}: as they were written.")
    if not known:
        show("Rows cut from the end of a chain are found only with --head FILE (docs/audit.md).")


@audit_app.command("prune")
def prune_command(
    older_than: Annotated[
        int, typer.Option("--older-than", metavar="DAYS", min=1, help="Take rows that are older than so many days.")
    ],
    as_json: AsJson = False,
) -> None:
    """Take old rows out, and leave a row that says so. Needs the owner's role in postgres.dsn.

    The last row of each chain stays. Nothing is taken from an audit that does not verify.
    """
    before = datetime.now(UTC) - timedelta(days=older_than)
    taken = asyncio.run(prune(load_settings().postgres, before=before, who=who_asks()))
    if as_json:
        print_json({"rows": taken})
    else:
        show(f"{count(taken, 'row')} taken out of the audit.")


def _kind(given: str | None) -> AuditKind | None:
    found: dict[str, AuditKind] = {name: name for name in get_args(AuditKind)}
    if given is not None and given not in found:
        raise UsageError(f"--kind takes one of {', '.join(AUDIT_KINDS)}, not {given!r}")
    return None if given is None else found[given]


def _known(file: Path) -> list[AuditHead]:
    try:
        return heads_of_text(file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise UsageError(f"--head {file}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--head {file}: {error}") from error


def _table(rows: Iterable[AuditRow]) -> Table:
    return table("at (UTC)", "who", "claims", "what", "of", "outcome", "why", rows=[_cells(row.entry) for row in rows])


def _cells(entry: Any) -> tuple[str, ...]:  # noqa: ANN401 - JSON of the record
    what = entry.get("command") or entry["kind"]
    return (
        moment_text(entry.get("at")),
        entry.get("identity") or "-",
        entry.get("claimed") or "-",
        f"{what} ({entry['way']})",
        entry.get("target") or entry.get("deployment_id") or "-",
        entry["outcome"],
        entry.get("rule") or entry.get("reason") or "",
    )
