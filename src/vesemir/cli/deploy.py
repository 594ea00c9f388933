"""``vesemir deploy``: ask for a deployment and, with ``--follow``, watch it until it ends."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from vesemir.cli.complaint import INTERRUPTED, NOT_DONE, ProblemsError
from vesemir.cli.configuration import load_settings
from vesemir.cli.doing_feed import follow_doing
from vesemir.cli.event import DraftEvent, event_of
from vesemir.cli.finished import FinishedDeployment
from vesemir.cli.live import Silent, Watcher, watching
from vesemir.cli.options import EventOptions, takes_event_options
from vesemir.cli.output import print_json, say, show
from vesemir.cli.requesting import ANSWER_SECONDS, Request
from vesemir.cli.results import rejection_lines, result_parts
from vesemir.cli.rollout import RolloutProgress, line_of
from vesemir.domain.doing import Doing
from vesemir.settings import Settings

Json = Mapping[str, Any]

AsJson = Annotated[
    bool, typer.Option("--json", help="Print the last event as JSON, for programs; with --follow on one line.")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="S",
        min=0.1,
        help=f"How long to wait; it does not end the deployment.  [default: {ANSWER_SECONDS:g}; following: no limit]",
    ),
]
Follow = Annotated[bool, typer.Option("--follow", help="Show the rollout until it ends; exit 0 only if it succeeded.")]


@takes_event_options
def deploy_command(
    options: EventOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; see `vesemir plan`.")] = False,
    follow: Follow = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a deployment: publish a deploy event and wait until an instance accepts it.

    The event comes from options or, whole, from --file. It is checked here before it is published. The same --id with
    the same event is the same deployment, however often it is asked for.
    """
    settings = load_settings()
    event = event_of(options, settings, dry_run=True if dry_run else None)
    raise typer.Exit(deployed(settings, event, follow=follow, timeout=timeout, as_json=as_json))


def deployed(settings: Settings, event: DraftEvent, *, follow: bool, timeout: float | None, as_json: bool) -> int:
    """Ask, show, and tell how it ended; the exit status."""
    rollout = progress_of(event)
    answer = asked(settings, event, rollout, follow=follow, timeout=timeout)
    if as_json:
        print_json(answer, one_line=follow)
    if answer["event"] == "deployment.rejected":
        if not as_json:
            raise ProblemsError(rejection_lines(answer))
        return NOT_DONE
    if answer["event"] == "deployment.accepted":
        if not as_json:
            deployment_id = answer["deployment_id"]
            show(
                f"{deployment_id}: {line_of(answer, dry_run=rollout.dry_run)}", f"Next: vesemir status {deployment_id}"
            )
        return 0
    if not as_json:
        show(*result_parts(FinishedDeployment.of_event(answer, rollout)))
    return 0 if answer["status"] == "succeeded" else NOT_DONE


def progress_of(event: DraftEvent) -> RolloutProgress:
    """Nothing has come yet."""
    asked_for = event.request
    return RolloutProgress(asked_for.deployment_id, version=asked_for.version, dry_run=asked_for.dry_run)


def asked(
    settings: Settings, event: DraftEvent, rollout: RolloutProgress, *, follow: bool, timeout: float | None
) -> Json:
    """The event that answers; ``rollout`` has all that came. Ctrl-C ends the waiting, never the deployment."""
    limit = timeout if timeout is not None or follow else ANSWER_SECONDS
    request: Request | None = None
    try:
        if follow:
            with watching(rollout) as watcher:
                request = Request(settings.amqp, event, watcher=watcher, rollout=rollout)
                answer = asyncio.run(_followed(request, settings, watcher, rollout, limit))
        else:
            request = Request(settings.amqp, event, watcher=Silent(), rollout=rollout)
            answer = asyncio.run(request.answered(follow=False, timeout=limit))
    except KeyboardInterrupt:
        say(_goes_on(event, sent=request is not None and request.sent))
        raise typer.Exit(INTERRUPTED) from None
    if follow and rollout.missing:
        say(f"{len(rollout.missing)} events did not come; `vesemir logs {rollout.deployment_id}` has the record")
    return answer


async def _followed(
    request: Request, settings: Settings, watcher: Watcher, rollout: RolloutProgress, limit: float | None
) -> Json:
    """The last event; what the targets do meanwhile comes from the record, if it can be read from here."""

    def show(doing: Sequence[Doing]) -> None:
        now = time.monotonic()
        rollout.show_doing(doing, now=now, wall=time.time())
        watcher.doing(list(rollout.targets.values()), now=now)

    following = asyncio.create_task(
        follow_doing(settings.postgres, rollout.deployment_id, wanted=lambda: rollout.in_work, show=show)
    )
    try:
        return await request.answered(follow=True, timeout=limit)
    finally:
        following.cancel()
        await asyncio.wait({following})


def _goes_on(event: DraftEvent, *, sent: bool) -> str:
    deployment_id = event.request.deployment_id
    if not sent:
        return "interrupted before anything was asked for"
    return f"interrupted; the deployment goes on: `vesemir cancel {deployment_id}` ends it"
