"""``vesemir logs``: what the steps of a deployment printed, in the order in which they ended."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

import typer

from vesemir.adapters.postgres import Reader
from vesemir.cli.complaint import INTERRUPTED
from vesemir.cli.finished import FoundPlan
from vesemir.cli.headline import headline
from vesemir.cli.output import STYLES, json_text, print_json, say, seconds_text, show, text
from vesemir.cli.record import read, view_of
from vesemir.cli.results import plan_parts
from vesemir.cli.state_words import state_words
from vesemir.domain.states import FINAL
from vesemir.domain.step import Direction
from vesemir.domain.visible import visible_line
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.ports.views import DeploymentView, StepView

_PAGE = 100
_POLL_SECONDS = 1.0
"""The record is read, not the daemon: it tells of a step when it has ended."""


def logs_command(
    deployment_id: Annotated[str, typer.Argument(metavar="ID", help="The deployment's id.")],
    target: Annotated[str | None, typer.Option("--target", metavar="T", help="Only of this target.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the deployment ends.")] = False,
    after: Annotated[
        int, typer.Option("--after", metavar="STEP_ID", min=0, help="Go on after that step (step_id of --json).")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs; with --follow, one line per step.")
    ] = False,
) -> None:
    """Print what the steps of a deployment printed, as far as it was kept, in the order in which they ended."""
    reading = LogPages(deployment_id, target, after)
    if not follow:
        read(lambda reader: _all(reader, reading, as_json=as_json))
        return
    try:
        read(lambda reader: _followed(reader, reading, as_json=as_json))
    except KeyboardInterrupt:
        say(f"interrupted; the deployment goes on: `vesemir cancel {deployment_id}` ends it")
        raise typer.Exit(INTERRUPTED) from None


@dataclass(slots=True)
class LogPages:
    """How far somebody has read: a page at a time, so that no output of a large deployment is held whole."""

    deployment_id: str
    target: str | None
    after: int

    async def pages(self, reader: Reader) -> AsyncIterator[list[StepView]]:
        """What is there beyond ``after``, which moves on with each page."""
        while True:
            page = await reader.steps(
                self.deployment_id, target=self.target, with_output=True, after=self.after, limit=_PAGE
            )
            if page:
                self.after = page[-1].step_id
                yield page
            if len(page) < _PAGE:
                return


async def _all(reader: Reader, reading: LogPages, *, as_json: bool) -> None:
    view = await view_of(reader, reading.deployment_id)
    if view.dry_run:
        await _rehearsed(reader, view, as_json=as_json)
    if as_json:
        print_json([step.as_json() async for page in reading.pages(reader) for step in page])
        return
    found = False
    async for page in reading.pages(reader):
        _print(page, as_json=False)
        found = True
    if not found and not view.dry_run:
        say(f"no step has ended{f' on {reading.target}' if reading.target else ''} yet")


async def _rehearsed(reader: Reader, view: DeploymentView, *, as_json: bool) -> None:
    """A dry run has no steps: what it was, what it found in the way, and what would be done."""
    say(f"{view.deployment_id} is a dry run, so no step ran and nothing was printed")
    say(headline(view))
    for message in dict.fromkeys(target.failure.message for target in view.targets if target.failure):
        say(f"in the way: {message}")
    last = await reader.events(view.deployment_id, after=max(0, view.last_sequence - 1))
    plan = last[-1].body.get("plan") if last else None
    if plan is not None and not as_json:
        show(*plan_parts(FoundPlan.of_json(plan)))


async def _tell_end(reader: Reader, view: DeploymentView, *, as_json: bool) -> None:
    if view.dry_run:
        await _rehearsed(reader, view, as_json=as_json)
    say(f"{view.deployment_id}: {state_words(view.state, dry_run=view.dry_run)}")


async def _followed(reader: Reader, reading: LogPages, *, as_json: bool) -> None:
    """Steps are only ever added. While the record is away, it is waited for: nothing that was printed comes again."""
    known, answered, reported = -1, False, False
    while True:
        try:
            view = await view_of(reader, reading.deployment_id)
            answered = True
            if view.steps_total != known:
                known = view.steps_total
                async for page in reading.pages(reader):
                    _print(page, as_json=as_json)
            if view.state in FINAL:
                await _tell_end(reader, view, as_json=as_json)
                return
        except StoreAwayError as error:
            if not answered:
                raise
            if not reported:
                say(f"{error}; waiting for it")
            known, reported = -1, True
        else:
            reported = False
            if view.state in FINAL:
                say(f"{reading.deployment_id}: {view.state}")
                return
        await asyncio.sleep(_POLL_SECONDS)


def _print(steps: list[StepView], *, as_json: bool) -> None:
    for step in steps:
        if as_json:
            print(json_text(step.as_json()), flush=True)
        else:
            show(text(visible_line(heading(step)), STYLES.get(step.status, "")), *_body(step))


def heading(step: StepView) -> str:
    """``web1 restart: failed, exit status 1, 0.4 s``."""
    parts = [step.status.replace("_", " ")]
    if step.exit_status:
        parts.append(f"exit status {step.exit_status}")
    parts.append(seconds_text(step.duration_seconds))
    if step.attempt > 1:
        parts.append(f"try {step.attempt}")
    if step.redone:
        parts.append("done again")
    back = " (back)" if step.direction is Direction.BACK else ""
    return f"{step.target} {step.step}{back}: {', '.join(parts)}"


def _body(step: StepView) -> list[str]:
    output = str(step.output or "").rstrip("\n")
    lines = [f"  {line}" for line in output.split("\n")] if output else []
    if step.output_truncated:
        lines.insert(0, f"  … the last {len(output.encode())} of {step.output_bytes} bytes")
    return lines
