"""How a deployment ended, for people: a table of its targets and one sentence."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from vesemir.cli.finished import FinishedDeployment, FinishedTarget, FoundPlan, PlannedHost
from vesemir.cli.headline import is_out, progress
from vesemir.cli.history import moment_text
from vesemir.cli.next_steps import next_steps
from vesemir.cli.output import STYLES, count, paragraph, seconds_text, status_text, table, text
from vesemir.cli.shown_targets import shown_targets
from vesemir.cli.without_traffic import NOT_SERVING, NOT_TOUCHED
from vesemir.domain.traffic_prior import LEFT_DRAINED
from vesemir.engine.ports.views import FailureView

Json = Mapping[str, Any]


def result_parts(finished: FinishedDeployment) -> Iterator[RenderableType]:
    """``deployment.finished`` as a table, a sentence, and for a failure where to read on."""
    targets = finished.targets
    if finished.plan is not None:
        # Nothing was done to them: they matter only where something stands in the way.
        targets = [target for target in targets if target.failure]
    out = [*_out_of_each(finished)]
    yield from out
    if targets:
        yield from [""] if out else []
        listed, left_out = shown_targets(targets, finished.deployment_id)
        if left_out:
            yield text(left_out)
        if listed:
            yield targets_table(listed)
        yield ""
    yield paragraph(text(sentence(finished), STYLES.get(finished.status, "")))
    yield from next_steps(finished.deployment_id, finished.failure, finished.targets)


def _out_of_each(finished: FinishedDeployment) -> Iterator[RenderableType]:
    """First of all: which targets get no traffic, who took them out and when, as far as the events tell."""
    reported: dict[str, list[str]] = {}
    for target in finished.targets:
        if target.in_traffic is False:
            reported.setdefault(_who(target), []).append(target.name)
    for words, names in reported.items():
        yield paragraph(text(f"No traffic on {', '.join(names)}", "bold"), text(f": {words}."))
    if reported:
        yield paragraph(text(f"What is known of it now: `vesemir status {finished.deployment_id}`"))


def _who(target: FinishedTarget) -> str:
    if target.out_before:
        return f"taken out before this deployment, and not by it ({target.out_before})"
    if target.failure is None:
        untouched = target.status == "skipped"
        return NOT_TOUCHED if untouched else NOT_SERVING
    if LEFT_DRAINED in target.failure.message:
        at = f" at {moment_text(target.ended_at)} UTC" if target.ended_at else ""
        return f"left drained by this deployment{at}, because it {target.status.replace('_', ' ')} there"
    return f"it {target.status.replace('_', ' ')}, and its failure says how it was left"


def targets_table(targets: Iterable[FinishedTarget]) -> RenderableType:
    rows = [
        (
            target.name,
            target.address,
            status_text(target.status),
            seconds_text(target.duration_seconds),
            _failure(target.failure),
        )
        for target in targets
    ]
    return table("target", "address", "status", "time", "failure", rows=rows)


def sentence(finished: FinishedDeployment) -> str:
    """What became of it, in one sentence."""
    what, done, total = finished.what, finished.succeeded, finished.total
    took = f"after {seconds_text(finished.duration_seconds)}"
    reason = f": {finished.failure.message}" if finished.failure else ""
    if finished.dry_run:
        return _rehearsed(finished, took, reason)
    match finished.status:
        case "succeeded" if any(target.in_traffic is not None for target in finished.targets):
            return f"{what} {is_out(finished.targets)}: {progress(finished.targets)}, {took}."
        case "succeeded":
            return f"{what} is on {count(done, 'target')} {took}{_not_done(done, total)}."
        case "rolled_back":
            back = count(finished.rolled_back, "target")
            return f"{what} was rolled back {took}, {back} brought back{reason}."
        case "timed_out":
            return f"{what} ran out of time {took}, {done} of {count(total, 'target')} done{reason}."
        case status:
            return f"{what} {status} {took}, {done} of {count(total, 'target')} done{reason}."


def _rehearsed(finished: FinishedDeployment, took: str, reason: str) -> str:
    what, on = finished.what, count(finished.total, "target")
    if finished.status == "succeeded" and finished.plan is not None and finished.plan.promotion:
        return f"Only a missing promotion stands in the way of {what} on {on} (dry run, nothing was changed)."
    if finished.status == "succeeded":
        return f"Nothing stands in the way of {what} on {on} (dry run, nothing was changed)."
    return f"The dry run of {what} {finished.status.replace('_', ' ')} {took}, nothing was changed{reason}."


def _not_done(done: int, total: int) -> str:
    return "" if done == total else f"; {total - done} of {total} not"


def rejection_lines(rejected: Json) -> list[str]:
    """``deployment.rejected`` or ``control.rejected``: one line per problem, and where to read on."""
    failure = rejected["failure"]
    details = failure.get("details") or []
    problems = [f"{detail['field']} {detail['message']}" for detail in details] or [failure["message"]]
    lines = [f"refused [{failure['code']}]: {problem}" for problem in problems]
    return [*lines, f"what it means, and what to do: vesemir explain {failure['code']}"]


def plan_parts(plan: FoundPlan) -> Iterator[RenderableType]:
    """What a dry run found: each target, where its address came from, and what would be done on it."""
    batch_of = {name: number for number, names in enumerate(plan.batches, start=1) for name in names}
    by_name = {host.name: host for host in plan.targets}
    ordered = [by_name[name] for name in batch_of if name in by_name]
    rows = [(batch_of[each.name], each.name, each.address, each.source, each.server) for each in ordered]
    yield table("batch", "target", "address", "address from", "HAProxy server", rows=rows)
    yield ""
    for steps, names in _by_steps(ordered).items():
        on = "every target" if len(names) == len(ordered) else ", ".join(names)
        yield text(f"Steps on {on}: {', '.join(steps)}")
    if plan.load_balancers:
        yield text(f"Load balancers: {', '.join(plan.load_balancers)}")
    for missing in plan.promotion:
        yield text(f"Would be refused for now [promotion.missing]: {missing}", "bold")
    yield from _without_traffic(ordered)
    for host in ordered:
        for what in host.unchecked:
            yield text(f"Could not be checked on {host.name}: {what}")


def _without_traffic(hosts: Sequence[PlannedHost]) -> Iterator[RenderableType]:
    """A release that is out where nothing serves helps no user: said before it is."""
    out = [host for host in hosts if host.taken_out]
    if not out:
        return
    named = ", ".join(f"{host.name} ({host.taken_out})" for host in out)
    if len(out) == len(hosts):
        yield text(f"No target gets traffic: every server is taken out of HAProxy already: {named}.", "bold")
    else:
        yield text(f"Taken out of HAProxy already: {named}.")


def _by_steps(hosts: Iterable[PlannedHost]) -> Mapping[Sequence[str], list[str]]:
    found: dict[Sequence[str], list[str]] = {}
    for host in hosts:
        found.setdefault(host.steps, []).append(host.name)
    return found


def _failure(failure: FailureView | None) -> str:
    return f"{failure.code}: {failure.message}" if failure else ""
