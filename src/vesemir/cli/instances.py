"""Who works: the table of instances, and the words for nobody."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType

from vesemir.adapters.postgres import Reader
from vesemir.cli.advice import advice
from vesemir.cli.history import moment_text
from vesemir.cli.output import STYLES, count, paragraph, print_json, show, table, text
from vesemir.cli.record import read
from vesemir.engine.ports.views import InstanceView

_NAMED = 3
NOT_LISTED = "instances of 0.1 are not listed"
"""They do not write to the table."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Who works on the record, by what it says: ``leases`` also of instances that are not in the table."""

    instances: Sequence[InstanceView]
    leases: int

    @classmethod
    async def read(cls, reader: Reader) -> "Crew":
        return cls(await reader.instances(), await reader.leases_in_force())

    @property
    def nobody(self) -> bool:
        """Draining counts: it still works. So does a lease: its owner may be one of 0.1."""
        return not self.leases and not any(each.state.runs for each in self.instances)


def nobody_works(crew: Crew, *, waiting: int) -> str | None:
    """One line; None where somebody works, or where nobody was ever seen and nothing waits."""
    if not crew.nobody or not (crew.instances or waiting):
        return None
    waits = f", and {count(waiting, 'deployment waits', 'deployments wait')}" if waiting else ""
    return f"No instance works{waits}: {last_seen(crew.instances)} ({NOT_LISTED})."


def last_seen(instances: Sequence[InstanceView]) -> str:
    """``last seen a/1 (0.2.0, stopped) 2026-11-23 14:02:12 UTC``; the last one first."""
    if not instances:
        return "none was seen yet"
    latest = sorted(instances, key=lambda each: each.renewed_at, reverse=True)
    named = [
        f"{each.name} ({each.version}, {each.state}) {moment_text(each.renewed_at)} UTC" for each in latest[:_NAMED]
    ]
    more = f" and {len(latest) - _NAMED} more" if len(latest) > _NAMED else ""
    return f"last seen {', '.join(named)}{more}"


def instances_table(instances: Sequence[InstanceView]) -> RenderableType:
    rows = [
        (
            each.name,
            each.version,
            each.state,
            moment_text(each.since),
            each.in_work,
            moment_text(each.renewed_at),
        )
        for each in instances
    ]
    made = table("instance", "version", "state", "since (UTC)", "in work", "last renewal (UTC)", rows=rows)
    made.columns[0].no_wrap = True
    return made


def show_instances(*, as_json: bool) -> None:
    """``vesemir status --instances``."""
    crew = read(Crew.read)
    if as_json:
        print_json([each.as_json() for each in crew.instances])
        return
    if crew.instances:
        warn_of_nobody(crew, waiting=0)
        show(instances_table(crew.instances))
    else:
        show("No instance has been seen yet.")
    show(f"({NOT_LISTED})")


_NOBODY = (
    ("start one, on its host", "systemctl start vesemir"),
    ("what the broker says of who consumes", "vesemir check"),
)


def warn_of_nobody(crew: Crew, *, waiting: int) -> None:
    """The first thing to know: nothing below goes on by itself."""
    line = nobody_works(crew, waiting=waiting)
    if line is not None:
        show(paragraph(text(line, STYLES["FAIL"])), *advice(_NOBODY), "")
