"""``vesemir logs``: what the steps of a deployment printed, in the order in which they ended."""

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vesemir.adapters.postgres import Reader
from vesemir.cli.complaint import INTERRUPTED
from vesemir.cli.output import STYLES, print_json, say, seconds_text, show, text
from vesemir.cli.record import JsonObject, read, view_of
from vesemir.domain.states import FINAL

Json = Mapping[str, Any]

_POLL_SECONDS = 1.0
"""The record is read, not the daemon: it tells of a step when it has ended."""


def logs_command(
    deployment_id: Annotated[str, typer.Argument(metavar="ID", help="The deployment's id.")],
    target: Annotated[str | None, typer.Option("--target", metavar="T", help="Only of this target.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the deployment ends.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for programs; with --follow, one line per step.")
    ] = False,
) -> None:
    """Print what the steps of a deployment printed, as far as it was kept, in the order in which they ended."""
    if not follow:
        steps = read(lambda reader: _all(reader, deployment_id, target))
        if as_json:
            print_json(steps)
        else:
            _print(steps, as_json=False)
            _say_if_none(steps, target)
        return
    try:
        read(lambda reader: _followed(reader, deployment_id, target, as_json=as_json))
    except KeyboardInterrupt:
        say(f"interrupted; the deployment goes on: `vesemir cancel {deployment_id}` ends it")
        raise typer.Exit(INTERRUPTED) from None


async def _all(reader: Reader, deployment_id: str, target: str | None) -> list[JsonObject]:
    await view_of(reader, deployment_id)
    return await reader.steps(deployment_id, target=target, with_output=True)


async def _followed(reader: Reader, deployment_id: str, target: str | None, *, as_json: bool) -> None:
    """Steps are only ever added, so what was printed is the beginning of what there is."""
    printed = known = 0
    while True:
        view = await view_of(reader, deployment_id)
        if view["steps_total"] > known:
            known = view["steps_total"]
            steps = await reader.steps(deployment_id, target=target, with_output=True)
            _print(steps[printed:], as_json=as_json)
            printed = len(steps)
        if view["state"] in FINAL:
            say(f"{deployment_id}: {view['state']}")
            return
        await asyncio.sleep(_POLL_SECONDS)


def _print(steps: list[JsonObject], *, as_json: bool) -> None:
    for step in steps:
        if as_json:
            print(json.dumps(step, ensure_ascii=False), flush=True)
        else:
            show(text(heading(step), STYLES.get(step["status"], "")), *_body(step))


def heading(step: Json) -> str:
    """``web1 restart: failed, exit status 1, 0.4 s``."""
    parts = [step["status"].replace("_", " ")]
    if step["exit_status"]:
        parts.append(f"exit status {step['exit_status']}")
    parts.append(seconds_text(step["duration_seconds"]))
    if step["attempt"] > 1:
        parts.append(f"try {step['attempt']}")
    if step["redone"]:
        parts.append("done again")
    back = " (back)" if step["direction"] == "back" else ""
    return f"{step['target']} {step['step']}{back}: {', '.join(parts)}"


def _body(step: Json) -> list[str]:
    output = str(step["output"] or "").rstrip("\n")
    lines = [f"  {line}" for line in output.split("\n")] if output else []
    if step["output_truncated"]:
        lines.insert(0, f"  … the last {len(output.encode())} of {step['output_bytes']} bytes")
    return lines


def _say_if_none(steps: list[JsonObject], target: str | None) -> None:
    if not steps:
        say(f"no step has ended{f' on {target}' if target else ''} yet")
