"""Following a rollout on stderr: a table that changes, or a line per event where there is no terminal."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from vesemir.cli.doing import doing_words, step_words
from vesemir.cli.output import console, count, seconds_text, status_text, table, text
from vesemir.cli.rollout import RolloutProgress, TargetProgress, line_of
from vesemir.cli.state_words import state_words
from vesemir.domain.visible import visible_line

_REFRESHES_PER_SECOND = 4
_OTHER_LINES = 5
"""What the table's head, the line of totals and the cursor need beside the rows."""
_FEWEST_ROWS = 3
_FIRST_LINE_SECONDS = 10.0
_MOST_LINES = 5
_MOST_ANSWERS = 3

_URGENCY = ("running", "unknown", "failed", "unreachable", "timed_out", "cancelled", "pending")
"""When not all targets fit on the screen, these come first; what went well comes last."""

Clock = Callable[[], float]


class Watcher(Protocol):
    """The one that shows a rollout while it goes on."""

    def event(self, event: Mapping[str, Any]) -> None: ...

    def doing(self, targets: Sequence[TargetProgress], *, now: float) -> None:
        """What they do, again and again."""
        ...

    def trouble(self, line: str) -> None: ...


class Lines:
    """A line per event, and one for a step after 10 s, 20 s, 40 s, and so on."""

    def __init__(self, out: Console, *, dry_run: bool = False) -> None:
        self._out = out
        self._due: dict[tuple[str, str, str], float] = {}
        """By target, step and its begin: how long it must take for the next line."""
        self._dry_run = dry_run

    def event(self, event: Mapping[str, Any]) -> None:
        moment = str(event.get("occurred_at", ""))[11:19]
        self._out.print(text(visible_line(f"{moment} {line_of(event, dry_run=self._dry_run)}")), soft_wrap=True)

    def doing(self, targets: Sequence[TargetProgress], *, now: float) -> None:
        lines, due = [], {}
        for target in targets:
            if target.doing is None:
                continue
            seconds = now - target.doing_since
            key = target.name, target.doing.step, target.doing.since
            due[key] = self._due.get(key, _FIRST_LINE_SECONDS)
            if seconds >= due[key]:
                lines.append(visible_line(f"{target.name}: still in {doing_words(target.doing, seconds)}"))
                while due[key] <= seconds:
                    due[key] *= 2
        self._due = due
        moment = datetime.now(UTC).strftime("%H:%M:%S")
        for line in lines[:_MOST_LINES]:
            self._out.print(text(f"{moment} {line}"), soft_wrap=True)
        if len(lines) > _MOST_LINES:
            more = count(len(lines) - _MOST_LINES, "more target")
            self._out.print(text(f"{moment} … and {more} in long steps"), soft_wrap=True)

    def trouble(self, line: str) -> None:
        self._out.print(text(line), soft_wrap=True)


class Table:
    """The live table; events change the rollout that it shows."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def event(self, event: Mapping[str, Any]) -> None:
        del event
        self._live.refresh()

    def doing(self, targets: Sequence[TargetProgress], *, now: float) -> None:
        """The table is drawn several times a second anyway."""

    def trouble(self, line: str) -> None:
        self._live.console.print(text(line), soft_wrap=True)


@contextmanager
def watching(rollout: RolloutProgress, *, clock: Clock = time.monotonic) -> Iterator[Watcher]:
    """Show ``rollout`` until the end of the block."""
    out = console(stderr=True)
    if not out.is_terminal or out.is_dumb_terminal:
        yield Lines(out, dry_run=rollout.dry_run)
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

    def doing(self, targets: Sequence[TargetProgress], *, now: float) -> None:
        del targets, now

    def event(self, event: Mapping[str, Any]) -> None:
        del event

    def trouble(self, line: str) -> None:
        Lines(console(stderr=True)).trouble(line)


def rendered(rollout: RolloutProgress, *, now: float, rows: int) -> RenderableType:
    """The rollout as it is ``now``, in so many rows."""
    answers = _answers(rollout.targets.values())
    chosen = _chosen(list(rollout.targets.values()), max(_FEWEST_ROWS, rows - len(answers)))
    shown = table("target", "batch", "status", "step", "time")
    for target in chosen:
        shown.add_row(
            text(visible_line(target.name)),
            text("" if target.batch is None else target.batch),
            status_text(target.status if target.direction == "forward" else f"{target.status} (back)"),
            _step(target, now=now),
            text(_time(target, now=now)),
        )
    left_out = len(rollout.targets) - len(chosen)
    more = [text(f"… and {count(left_out, 'more target')}", "dim")] if left_out else []
    return Group(_head(rollout), *([shown] if chosen else []), *more, *answers)


def _head(rollout: RolloutProgress) -> RenderableType:
    counts = Counter(target.status for target in rollout.targets.values())
    reported = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in counts.items())
    parts = [f"{rollout.deployment_id}: {state_words(rollout.state, dry_run=rollout.dry_run)}", rollout.note, reported]
    return text(" · ".join(part for part in parts if part), "bold")


def _chosen(targets: Sequence[TargetProgress], rows: int) -> Sequence[TargetProgress]:
    """All if they fit; else the most urgent ones, in the order in which they stand."""
    if len(targets) <= rows:
        return targets
    ranks = {status: rank for rank, status in enumerate(_URGENCY)}
    order = sorted(range(len(targets)), key=lambda index: ranks.get(targets[index].status, len(ranks)))
    return [targets[index] for index in sorted(order[:rows])]


def _step(target: TargetProgress, *, now: float) -> Text:
    """The running one, if it takes a while; else the last one."""
    if target.doing is None:
        return text(visible_line(target.step))
    return text(step_words(target.doing, now - target.doing_since))


def _answers(targets: Iterable[TargetProgress]) -> list[Text]:
    """What the running steps saw last, each answer once and on one line: a column has no room for it."""
    names: dict[str, list[str]] = {}
    for target in targets:
        if target.doing is not None and target.doing.last_error:
            names.setdefault(target.doing.last_error, []).append(target.name)
    shown = []
    for answer, those in list(names.items())[:_MOST_ANSWERS]:
        more = f" and {len(those) - 1} more" if len(those) > 1 else ""
        line = text(visible_line(f"{those[0]}{more}: {answer}"), "dim")
        line.no_wrap, line.overflow = True, "ellipsis"
        shown.append(line)
    return shown


def _time(target: TargetProgress, *, now: float) -> str:
    if target.since is not None:
        return seconds_text(now - target.since)
    return "" if target.seconds is None or target.status == "pending" else seconds_text(target.seconds)
