"""What would be decided of a request or a command, by which rule, and what else holds for it. Pure.

``vesemir policy test`` and the API answer with it. It decides as intake does, in its order; what only the record or
the inventory could tell, and was not asked, is named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vesemir.domain.control import CommandName, ControlledDeployment, ControlledLane
from vesemir.domain.deciding_rule import rule_of_command, rule_of_request
from vesemir.domain.failure import FailureCode
from vesemir.domain.freeze import frozen_until
from vesemir.domain.identity import Asker
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.policy import Freeze, Limit, Policy
from vesemir.domain.problem import Problem
from vesemir.domain.promotion import Success
from vesemir.domain.quota import Waiting, WaitingCount
from vesemir.domain.request import DeployRequest
from vesemir.domain.selector import HostSelector


@dataclass(frozen=True, slots=True)
class RecordAnswers:
    """What the record says of a request: successes of its version, what waits, and the lock of its lane."""

    successes: Sequence[Success] = ()
    waiting: Sequence[tuple[Waiting, int]] = ()
    lock: LaneLock | None = None


@dataclass(frozen=True, slots=True)
class HeldRule:
    """A rule that is about it. ``holds``: it is kept to; False: it stands in the way; None: that cannot be told yet."""

    rule: str
    says: str
    holds: bool | None

    def as_json(self) -> dict[str, Any]:
        return {"rule": self.rule, "says": self.says, "holds": self.holds}


@dataclass(frozen=True, slots=True)
class Decision:
    """``code`` None: it would be allowed. ``rules``: those that decided; empty where nothing had to allow it.

    ``unknown``: what could change it and cannot be told here.
    """

    code: FailureCode | None
    rules: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    held: tuple[HeldRule, ...] = ()
    unknown: tuple[str, ...] = field(default=())

    @property
    def allowed(self) -> bool:
        return self.code is None

    def as_json(self) -> dict[str, Any]:
        return {
            "allowed": self.allowed,
            "code": None if self.code is None else self.code.value,
            "rules": list(self.rules),
            "problems": [{"field": each.field, "message": each.message, "rule": each.rule} for each in self.problems],
            "held": [each.as_json() for each in self.held],
            "unknown": list(self.unknown),
        }


def decide_request(
    policy: Policy, request: DeployRequest, asker: Asker, now: float, *, record: RecordAnswers | None = None
) -> Decision:
    """``now`` in seconds since the epoch. ``record`` None: it was not asked."""
    code, problems = _judged(policy, request, asker, now, record)
    allowed_by = rule_of_request(policy, request, asker)
    rules = tuple(dict.fromkeys(each.rule for each in problems if each.rule))
    if not problems:
        rules = () if allowed_by is None else (allowed_by,)
    held = (
        *_freezes(policy, request, asker, now),
        *_limits(policy, request, asker),
        *_promotions(policy, request, record),
        *_quotas(policy, request, asker, record),
        *_approvals(policy, request),
    )
    return Decision(code, rules, tuple(problems), held, tuple(_unknown(policy, request, asker, record)))


def decide_command(
    policy: Policy, command: CommandName, about: ControlledDeployment | ControlledLane, asker: Asker
) -> Decision:
    problems = policy.judge_control(command, about, asker)
    if problems:
        rules = tuple(dict.fromkeys(each.rule for each in problems if each.rule))
        return Decision(FailureCode.CONTROL_FORBIDDEN, rules, tuple(problems))
    rule = rule_of_command(policy, command, about, asker)
    return Decision(None, () if rule is None else (rule,))


def _judged(
    policy: Policy, request: DeployRequest, asker: Asker, now: float, record: RecordAnswers | None
) -> tuple[FailureCode | None, list[Problem]]:
    problems = policy.judge(request, asker, now)
    if not problems and isinstance(request.targets, HostSelector):
        problems = policy.judge_targets(request, asker, request.targets.hosts)
    if problems:
        return FailureCode.REQUEST_FORBIDDEN, problems
    if record is None:
        return None, []
    if not _passes(request) and (problems := policy.judge_promotion(request, record.successes)):
        return FailureCode.PROMOTION_MISSING, problems
    full = WaitingCount(record.waiting).admit(policy.waiting_quotas(request, asker), Waiting.of(asker, request))
    if full is not None:
        return FailureCode.REQUEST_TOO_MANY_WAITING, [full.problem]
    later = request.not_before is not None and request.not_before > now
    if record.lock is not None and not _passes(request) and not later:
        return FailureCode.LANE_LOCKED, [record.lock.problem()]
    return None, []


def _passes(request: DeployRequest) -> bool:
    """Promotions and locks: a dry run may look, and what breaks the glass was judged by itself."""
    return request.dry_run or request.break_glass is not None


def _freezes(policy: Policy, request: DeployRequest, asker: Asker, now: float) -> Iterator[HeldRule]:
    asker = policy.persons.recognise(asker)
    for freeze in policy.freezes:
        if freeze.scope.covers(request):
            stands = request.break_glass is None and freeze.problem(request, asker, now) is not None
            yield HeldRule(f"freeze {freeze.name}", _freeze_text(freeze, now, passes=not stands), not stands)


def _freeze_text(freeze: Freeze, now: float, *, passes: bool) -> str:
    end = frozen_until(freeze.windows, now)
    if end is None:
        return "is not in force then"
    return f"is in force until {end.text}" + (", and lets this pass" if passes else "")


def _limits(policy: Policy, request: DeployRequest, asker: Asker) -> Iterator[HeldRule]:
    asker = policy.persons.recognise(asker)
    for limit in policy.limits:
        if limit.scope.covers(request) and (says := _limit_text(limit)):
            problems = [*limit.problems(request, asker)]
            if not problems and isinstance(request.targets, HostSelector):
                problems = [*limit.problems_with(request, len(request.targets.hosts))]
            known = bool(problems) or isinstance(request.targets, HostSelector) or not _needs_targets(limit)
            yield HeldRule(f"limit {limit.name}", says, not problems if known else None)


def _needs_targets(limit: Limit) -> bool:
    return any((limit.max_targets, limit.max_concurrency, limit.max_canary, limit.max_failures))


def _limit_text(limit: Limit) -> str:
    figures = ("max_targets", "max_concurrency", "max_canary", "max_failures", "min_available")
    parts = [f"{name} {value}" for name in figures if (value := getattr(limit, name)) is not None]
    parts += [f"require {', '.join(limit.require)}"] if limit.require else []
    parts += [f"on_failure {' or '.join(limit.on_failure)}"] if limit.on_failure else []
    return "; ".join(parts)


def _promotions(policy: Policy, request: DeployRequest, record: RecordAnswers | None) -> Iterator[HeldRule]:
    for rule in policy.promotions_of(request):
        holds = None if record is None else rule.problem(request, record.successes) is None
        passes = ", and lets this pass" if holds is False and _passes(request) else ""
        yield HeldRule(f"promote {rule.name}", f"asks for {rule.text}{passes}", True if passes else holds)


def _quotas(policy: Policy, request: DeployRequest, asker: Asker, record: RecordAnswers | None) -> Iterator[HeldRule]:
    count = None if record is None else WaitingCount(record.waiting)
    for quota in policy.waiting_quotas(request, asker):
        waiting = None if count is None else count.of(quota)
        figure, holds = ("", None) if waiting is None else (f", and {waiting} do", waiting < quota.most)
        yield HeldRule(f"limit {quota.rule}", f"lets {quota.most} of {quota.holder} wait{figure}", holds)
    for quota in policy.running_quotas(request, asker):
        yield HeldRule(f"limit {quota.rule}", f"lets {quota.most} of {quota.holder} run at once; others wait", None)


def _approvals(policy: Policy, request: DeployRequest) -> Iterator[HeldRule]:
    """Who may approve, where the rollout waits for it."""
    if request.rollout.approve_after is None:
        return
    about = ControlledDeployment(request.application, request.environment, request.version, awaits_approval=True)
    when = f"after each {request.rollout.approve_after}"
    if not policy.controls:
        yield HeldRule("rollout.approve_after", f"{when} whoever may send control messages approves", None)
    for rule in policy.controls:
        if rule.covers("resume", about):
            names = [str(each) for each in (rule.identities, rule.groups) if each is not None]
            who = " with groups ".join(names) if rule.identities else f"groups {names[0]}" if names else "everybody"
            but = ", but not who asked for it," if rule.not_requester else ""
            yield HeldRule(f"control {rule.name}", f"{when} {who}{but} may approve", None)


def _unknown(policy: Policy, request: DeployRequest, asker: Asker, record: RecordAnswers | None) -> Iterator[str]:
    if not isinstance(request.targets, HostSelector) and (policy.limits or policy.permissions):
        yield "how many targets there are, and their names: judged when the deployment begins"
    if request.haproxy is not None and request.haproxy.every_backend and policy.permissions:
        yield 'which backends "*" finds: judged when the deployment begins'
    if record is not None:
        return
    if policy.promotions_of(request):
        yield "what has succeeded elsewhere: the record was not asked"
    if policy.waiting_quotas(request, asker):
        yield "how many deployments wait: the record was not asked"
    yield "whether the lane is locked: the record was not asked"
