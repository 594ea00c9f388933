"""What the form of a message cannot say: rules across fields. Each is a sentence of contract section 2."""

from collections.abc import Iterator

from vesemir.contract.control import ControlMessage, LaneControlMessage
from vesemir.contract.deploy import ChefTargets, DeployEvent, HaproxyPart, RolloutPart, Targets
from vesemir.contract.moments import seconds_of
from vesemir.domain.problem import Problem
from vesemir.domain.selector import HOST_NAME
from vesemir.domain.share import Share


def rule_problems(event: DeployEvent) -> tuple[Problem, ...]:
    """Everything that is wrong with a well-formed event, host names excepted."""
    return tuple(_rules(event))


def host_problems(event: DeployEvent) -> tuple[Problem, ...]:
    """Hosts that no inventory can know, by the form of their name."""
    haproxy = event.haproxy.targets if event.haproxy else None
    return tuple(
        Problem(f"{path}[{index}]", "must be a host name: 1-253 of A-Za-z0-9._-, starting with a letter or digit")
        for path, targets in (("targets.hosts", event.targets), ("haproxy.targets.hosts", haproxy))
        for index, host in enumerate((targets.hosts if targets else None) or ())
        if not HOST_NAME.fullmatch(host)
    )


def control_problems(message: ControlMessage | LaneControlMessage) -> tuple[Problem, ...]:
    """What is said with a command that it says nothing to."""
    if isinstance(message, LaneControlMessage):
        wrong = message.command == "unlock" and message.until is not None
        return (Problem("until", "is for lock only: an unlocked lane stays so until it is locked"),) if wrong else ()
    wrong = message.command != "resume" and message.once is not None
    return (Problem("once", "is for resume only"),) if wrong else ()


def _rules(event: DeployEvent) -> Iterator[Problem]:
    yield from _targets("targets", event.targets)
    if event.haproxy is not None:
        yield from _targets("haproxy.targets", event.haproxy.targets)
        yield from _backends(event.haproxy)
    yield from _rollout(event.rollout, event.haproxy)
    yield from _moments(event)


def _moments(event: DeployEvent) -> Iterator[Problem]:
    """Whether they are past or too far ahead is the database's clock to say (``engine.messages.intake``)."""
    first, last = event.not_before, event.not_after
    if first is not None and last is not None and seconds_of(last) <= seconds_of(first):
        yield Problem("not_after", "must be after not_before")


def _targets(path: str, targets: Targets) -> Iterator[Problem]:
    given = [name for name in ("chef", "inventory", "hosts") if getattr(targets, name) is not None]
    if len(given) != 1:
        yield Problem(path, "must have exactly one of chef, inventory, hosts")
    if targets.chef is not None:
        yield from _chef(f"{path}.chef", targets.chef)


def _backends(haproxy: HaproxyPart) -> Iterator[Problem]:
    if isinstance(haproxy.backend, list):
        for index, name in enumerate(haproxy.backend):
            if name in haproxy.backend[:index]:
                yield Problem(f"haproxy.backend[{index}]", f"must name {name} once only")


def _chef(path: str, chef: ChefTargets) -> Iterator[Problem]:
    filters = [name for name in ("tags", "roles", "recipes") if getattr(chef, name)]
    if chef.query is None and not filters:
        yield Problem(path, "must have at least one of tags, roles, recipes, or a query")
    # A filter left out of the search would quietly select more hosts than the requester meant.
    if chef.query is not None and (filters or chef.environment is not None):
        yield Problem(f"{path}.query", "must stand alone: write tags, roles, recipes and environment into it")


def _rollout(rollout: RolloutPart, haproxy: HaproxyPart | None) -> Iterator[Problem]:
    has_canary = Share.of(rollout.canary).amount > 0
    if haproxy is None and Share.of(rollout.min_available or 0).amount > 0:
        yield Problem("rollout.min_available", "needs haproxy, whose servers it counts: add haproxy or leave it out")
    if rollout.analysis is not None and haproxy is None:
        yield Problem("rollout.analysis", "needs haproxy, whose counters it reads: add haproxy or leave it out")
    if rollout.analysis is not None and not has_canary:
        yield Problem("rollout.analysis", "needs a canary, which it judges: set rollout.canary or leave it out")
    if rollout.approve_after == "canary" and not has_canary:
        yield Problem("rollout.approve_after", 'needs a canary to wait after: set rollout.canary, or use "batch"')
    if rollout.approve_after == "group" and rollout.order_by is None:
        yield Problem("rollout.approve_after", 'needs groups to wait between: set rollout.order_by, or use "batch"')
