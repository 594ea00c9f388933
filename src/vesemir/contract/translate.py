"""From the wire's words to the domain's: defaults filled in, shares read, timeouts cut to the settings."""

from vesemir.contract.deploy import DeployEvent, HaproxyPart, RolloutPart, Targets, TimeoutsPart
from vesemir.contract.moments import seconds_of
from vesemir.domain.request import EVERY_BACKEND, Analysis, DeployRequest, Rollout, Timeouts, TrafficRequest
from vesemir.domain.selector import ChefSelector, GroupSelector, HostSelector, Selector
from vesemir.domain.share import Share


def deploy_request(event: DeployEvent, caps: Timeouts) -> DeployRequest:
    """The request of a valid event (its form and ``rules`` were checked)."""
    return DeployRequest(
        deployment_id=event.deployment_id,
        application=event.application,
        environment=event.environment,
        version=event.version,
        recipe=event.recipe,
        targets=_selector(event.targets),
        parameters=dict(event.parameters),
        team=event.team,
        requested_by=event.requested_by,
        haproxy=_traffic(event.haproxy) if event.haproxy else None,
        rollout=_rollout(event.rollout),
        timeouts=_timeouts(event.timeouts, caps),
        dry_run=event.dry_run,
        break_glass=None if event.break_glass is None else event.break_glass.reason,
        not_before=None if event.not_before is None else seconds_of(event.not_before),
        not_after=None if event.not_after is None else seconds_of(event.not_after),
    )


def _selector(targets: Targets) -> Selector:
    if targets.chef is not None:
        chef = targets.chef
        return ChefSelector(
            tags=tuple(chef.tags),
            roles=tuple(chef.roles),
            recipes=tuple(chef.recipes),
            environment=chef.environment or "",
            query=chef.query or "",
            cluster=chef.cluster or "",
        )
    if targets.inventory is not None:
        return GroupSelector(tuple(targets.inventory.groups))
    return HostSelector(tuple(targets.hosts or ()))


def _traffic(part: HaproxyPart) -> TrafficRequest:
    weight = part.weight
    return TrafficRequest(
        targets=_selector(part.targets),
        backends=(part.backend,) if isinstance(part.backend, str) else tuple(part.backend),
        server=part.server,
        drain_seconds=part.drain_seconds,
        on_drain_timeout=part.on_drain_timeout,
        weights=() if weight is None else (weight,) if isinstance(weight, int) else tuple(weight),
        degradation_seconds=part.degradation_seconds or 0,
        several=not isinstance(part.backend, str) or part.backend == EVERY_BACKEND,
    )


def _rollout(part: RolloutPart) -> Rollout:
    analysis = part.analysis
    return Rollout(
        concurrency=Share.of(part.concurrency),
        canary=Share.of(part.canary),
        max_failures=Share.of(part.max_failures),
        pause_seconds=part.pause_seconds,
        min_available=None if part.min_available is None else Share.of(part.min_available),
        on_failure=part.on_failure,
        mode=part.mode,
        order_by=part.order_by,
        approve_after=part.approve_after,
        min_targets=part.min_targets,
        analysis=None
        if analysis is None
        else Analysis(analysis.min_requests, analysis.hold_seconds, analysis.max_error_ratio),
        prepare=part.prepare,
        min_healthy_seconds=part.min_healthy_seconds,
    )


def _timeouts(part: TimeoutsPart, caps: Timeouts) -> Timeouts:
    return Timeouts(
        deployment=min(part.deployment, caps.deployment),
        target=min(part.target, caps.target),
        step=min(part.step, caps.step),
    )
