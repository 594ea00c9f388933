"""``vesemir plan``: a dry run, and what it found."""

import typer

from vesemir.cli.complaint import NOT_DONE, ProblemsError
from vesemir.cli.configuration import load_settings
from vesemir.cli.deploy import AsJson, Timeout, asked, progress_of
from vesemir.cli.event import event_of
from vesemir.cli.finished import FinishedDeployment
from vesemir.cli.identity import new_deployment_id
from vesemir.cli.options import EventOptions, takes_event_options
from vesemir.cli.output import print_json, show
from vesemir.cli.results import plan_parts, rejection_lines, result_parts


@takes_event_options
def plan_command(options: EventOptions, timeout: Timeout = None, as_json: AsJson = False) -> None:
    """Show what a deployment would do: targets, where their addresses come from, batches, HAProxy servers, steps.

    It is a deployment with dry_run: hosts and load balancers are logged in to, and nothing is changed. The id in --file
    is replaced by a new one, so that the file can still be deployed.
    """
    settings = load_settings()
    if options.deployment_id is None:
        options = options.with_id(new_deployment_id())
    event = event_of(options, settings, dry_run=True)
    rollout = progress_of(event)
    answer = asked(settings, event, rollout, follow=True, timeout=timeout)
    if as_json:
        print_json(answer)
    elif answer["event"] == "deployment.rejected":
        raise ProblemsError(rejection_lines(answer))
    else:
        finished = FinishedDeployment.of_event(answer, rollout)
        if finished.plan is not None:
            show(*plan_parts(finished.plan), "")
        show(*result_parts(finished))
    raise typer.Exit(0 if answer.get("status") == "succeeded" else NOT_DONE)
