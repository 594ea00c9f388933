"""Following a rollout on stderr: a table that changes, or a line per event where there is no terminal."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live

from vesemir.cli.output import console, count, seconds_text, status_text, table, text
from vesemir.cli.rollout import RolloutProgress, TargetProgress, line_of
from vesemir.domain.visible import visible_line

_REFRESHES_PER_SECOND = 4
_OTHER_LINES = 5
"""What the table's head, the line of totals and the cursor need beside the rows."""
_FEWEST_ROWS = 3

_URGENCY = ("running", "unknown", "failed", "unreachable", "timed_out", "cancelled", "pending")
"""When not all targets fit on the screen, these come first; what went well comes last."""

Clock = Callable[[], float]


class Watcher(Protocol):
    """The one that shows a rollout while it goes on."""

    def event(self, event: Mapping[str, Any]) -> None: ...

    def trouble(self, line: str) -> None: ...


class Lines:
    """A line per event."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def event(self, event: Mapping[str, Any]) -> None:
        moment = str(event.get("occurred_at", ""))[11:19]
        self._out.print(text(visible_line(f"{moment} {line_of(event)}")), soft_wrap=True)

    def trouble(self, line: str) -> None:
        self._out.print(text(line), soft_wrap=True)


class Table:
    """The live table; events change the rollout that it shows."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def event(self, event: Mapping[str, Any]) -> None:
        del event
        self._live.refresh()

    def trouble(self, line: str) -> None:
        self._live.console.print(text(line), soft_wrap=True)


@contextmanager
def watching(rollout: RolloutProgress, *, clock: Clock = time.monotonic) -> Iterator[Watcher]:
    """Show ``rollout`` until the end of the block."""
    out = console(stderr=True)
    if not out.is_terminal or out.is_dumb_terminal:
        yield Lines(out)
        return
    with Live(
        get_renderable=lambda: rendered(rollout, now=clock(), rows=max(_FEWEST_ROWS, out.height - _OTHER_LINES)),
        console=out,
        refresh_per_second=_REFRESHES_PER_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:
        yield Table(live)


class Silent:
    """Shows nothing: who does not follow waits for one answer only."""

    def event(self, event: Mapping[str, Any]) -> None:
        del event

    def trouble(self, line: str) -> None:
        Lines(console(stderr=True)).trouble(line)


def rendered(rollout: RolloutProgress, *, now: float, rows: int) -> RenderableType:
    """The rollout as it is ``now``, in so many rows."""
    chosen = _chosen(list(rollout.targets.values()), rows)
    shown = table("target", "batch", "status", "last step", "time")
    for target in chosen:
        shown.add_row(
            text(visible_line(target.name)),
            text("" if target.batch is None else target.batch),
            status_text(target.status if target.direction == "forward" else f"{target.status} (back)"),
            text(visible_line(target.step)),
            text(_time(target, now=now)),
        )
    left_out = len(rollout.targets) - len(chosen)
    more = [text(f"… and {count(left_out, 'more target')}", "dim")] if left_out else []
    return Group(_head(rollout), *([shown] if chosen else []), *more)


def _head(rollout: RolloutProgress) -> RenderableType:
    counts = Counter(target.status for target in rollout.targets.values())
    reported = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in counts.items())
    parts = [f"{rollout.deployment_id}: {rollout.state.replace('_', ' ')}", rollout.note, reported]
    return text(" · ".join(part for part in parts if part), "bold")


def _chosen(targets: Sequence[TargetProgress], rows: int) -> Sequence[TargetProgress]:
    """All if they fit; else the most urgent ones, in the order in which they stand."""
    if len(targets) <= rows:
        return targets
    ranks = {status: rank for rank, status in enumerate(_URGENCY)}
    order = sorted(range(len(targets)), key=lambda index: ranks.get(targets[index].status, len(ranks)))
    return [targets[index] for index in sorted(order[:rows])]


def _time(target: TargetProgress, *, now: float) -> str:
    if target.since is not None:
        return seconds_text(now - target.since)
    return "" if target.seconds is None or target.status == "pending" else seconds_text(target.seconds)
