"""The operator's rules: who may deploy what, when, and how much of it at once. Pure: the time is an argument.

A request is judged when it comes and again when it is about to start, because the rules and the hour may be others by
then. What has begun is never judged again: a rollout that was half done is no safer than one that ends.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as attribute

from vesemir.domain.control import CommandName, ControlledDeployment, ControlledLane
from vesemir.domain.control_permission import ControlPermission
from vesemir.domain.freeze import Window, frozen_until
from vesemir.domain.identity import NO_PERSONS, Asker, IdentityNames, Persons
from vesemir.domain.names import Names
from vesemir.domain.permission import EVERYWHERE, HasLane, OnceHost, Permission, PermissionScope
from vesemir.domain.problem import Problem
from vesemir.domain.promotion import Promotion, Success
from vesemir.domain.quota import HeldQuota, Quota, QuotaKind
from vesemir.domain.request import DeployRequest
from vesemir.domain.selector import HostSelector
from vesemir.domain.share import Share

REQUIRABLE = (
    "user_id",
    "team",
    "requested_by",
    "haproxy",
    "rollout.canary",
    "rollout.min_available",
    "rollout.approve_after",
    "rollout.analysis",
    "rollout.order_by",
)
"""What a limit may ask a request to have."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which nothing new begins in its scope, but for those who are named; dry runs change nothing and may."""

    name: str
    windows: tuple[Window, ...]
    scope: PermissionScope = EVERYWHERE
    except_users: IdentityNames | None = None
    except_teams: Names | None = None
    except_requesters: Names | None = None
    reason: str = ""
    contact: str = ""
    except_groups: Names | None = None

    def problem(self, request: DeployRequest, asker: Asker, now: float) -> Problem | None:
        if request.dry_run or not self.scope.covers(request) or self._excepted(request, asker):
            return None
        if request.not_before is not None and request.not_before > now:
            return None  # judged when it is due
        end = frozen_until(self.windows, now)
        if end is None:
            return None
        why = f" ({self.reason})" if self.reason else ""
        return Problem("environment", f"is frozen until {end.text}{why}; send it again then")

    def _excepted(self, request: DeployRequest, asker: Asker) -> bool:
        if self.except_users is not None and self.except_users.has(asker):
            return True
        if self.except_groups is not None and any(map(self.except_groups.has, asker.groups)):
            return True
        return any(
            names is not None and names.has(given)
            for names, given in ((self.except_teams, request.team), (self.except_requesters, request.requested_by))
        )


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a request may ask for. A share is compared as numbers of targets once these are known.

    ``min_available`` is a floor and compares with its own kind only: of how many servers it would be a percentage,
    nobody knows before HAProxy is asked.
    """

    name: str
    scope: PermissionScope = EVERYWHERE
    max_targets: int | None = None
    max_concurrency: Share | None = None
    max_canary: Share | None = None
    max_failures: Share | None = None
    min_available: Share | None = None
    require: tuple[str, ...] = ()
    on_failure: tuple[str, ...] = ()
    contact: str = ""
    lock_after_rollback: bool = False

    def problems(self, request: DeployRequest, asker: Asker) -> Iterator[Problem]:
        """What can be told before the targets are known."""
        yield from (Problem(field, "is required") for field in self.require if not _given(request, asker, field))
        if self.on_failure and request.rollout.on_failure not in self.on_failure:
            yield Problem("rollout.on_failure", f"must be one of: {', '.join(self.on_failure)}")
        for field, most, share in self._shares(request):
            if most.percent == share.percent and share.amount > most.amount:
                yield Problem(field, f"must be at most {most}")
        # What is left out may mean 0, for a backend of one server: a rule that asks for more wants it written.
        floor, least = request.rollout.min_available or Share(0), self.min_available
        if least is not None and (floor.percent != least.percent or floor.amount < least.amount):
            yield Problem("rollout.min_available", f"must be at least {least}, and given in the same way")
        if isinstance(request.targets, HostSelector):
            yield from self._too_many("targets.hosts", len(set(request.targets.hosts)))

    def problems_with(self, request: DeployRequest, total: int) -> Iterator[Problem]:
        """What can be told when ``total`` targets were found."""
        yield from self._too_many("targets", total)
        for field, most, share in self._shares(request):
            least = 1 if field == "rollout.concurrency" else 0
            allowed, asked = most.down(total, at_least=least), share.down(total, at_least=least)
            if asked > allowed:
                yield Problem(field, f"must be at most {most}, which is {allowed} of {total} targets, and is {asked}")

    def _shares(self, request: DeployRequest) -> Iterator[tuple[str, Share, Share]]:
        rollout = request.rollout
        for field, most, share in (
            ("rollout.concurrency", self.max_concurrency, rollout.concurrency),
            ("rollout.canary", self.max_canary, rollout.canary),
            ("rollout.max_failures", self.max_failures, rollout.max_failures),
        ):
            if most is not None:
                yield field, most, share

    def _too_many(self, field: str, total: int) -> Iterator[Problem]:
        if self.max_targets is not None and total > self.max_targets:
            yield Problem(field, f"must select at most {self.max_targets} targets, and finds {total}")


def _given(request: DeployRequest, asker: Asker, field: str) -> bool:
    if field == "user_id":
        return asker.identity is not None
    place: object = request
    for name in field.split("."):
        place = getattr(place, name)
    return place.amount > 0 if isinstance(place, Share) else bool(place)


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it. Without any permission everything is allowed; with one, what none covers is refused, unless
    ``allow_otherwise``. Every freeze, limit, promotion and quota that covers a request holds. Without any ``controls``
    everybody may give every command; with one, whoever one that covers it permits."""

    permissions: tuple[Permission, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    limits: tuple[Limit, ...] = ()
    allow_otherwise: bool = False
    contact: str = ""
    persons: Persons = NO_PERSONS
    controls: tuple[ControlPermission, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    quotas: tuple[Quota, ...] = ()
    digest: str | None = attribute(default=None, compare=False)
    """SHA-256 of the file's text; None without a file."""

    def judge(self, request: DeployRequest, asker: Asker, now: float) -> list[Problem]:
        """Everything that the rules have against it, each with the rule's name; empty when it is allowed.

        ``now`` is in seconds since the epoch.
        """
        asker = self.persons.recognise(asker)
        frozen = (
            self._wording(problem, f"freeze {freeze.name}", freeze.contact)
            for freeze in self.freezes
            if request.break_glass is None and (problem := freeze.problem(request, asker, now))
        )
        limited = (
            self._wording(problem, f"limit {limit.name}", limit.contact)
            for limit in self._limits(request)
            for problem in limit.problems(request, asker)
        )
        return [*self._not_allowed(request, asker), *frozen, *limited]

    def judge_repeat(self, request: DeployRequest, asker: Asker) -> list[Problem]:
        """Whether another than its requester may ask for it again: freezes and limits do not matter any more."""
        return list(self._not_allowed(request, self.persons.recognise(asker)))

    def judge_backends(self, request: DeployRequest, asker: Asker, found: Sequence[str]) -> list[Problem]:
        """The backends that ``"*"`` found at the start: each must be allowed, as if it had been named."""
        if request.haproxy is None or not request.haproxy.every_backend:
            return []
        named = replace(request, haproxy=replace(request.haproxy, backends=tuple(found)))
        return [
            replace(problem, field="haproxy.backend", message=f'"*" found {", ".join(found)}: {problem.message}')
            for problem in self._unpermitted(named, self.persons.recognise(asker))
        ]

    def judge_targets(self, request: DeployRequest, asker: Asker, names: Sequence[str]) -> list[Problem]:
        """What only the targets can tell, by their number and their names."""
        limited = [
            self._wording(problem, f"limit {limit.name}", limit.contact)
            for limit in self._limits(request)
            for problem in limit.problems_with(request, len(names))
        ]
        wrong = self._unless_one_allows(request, asker, lambda each: [each.refuses_servers(request, names)])
        return [*wrong, *limited]

    def judge_once_hosts(self, request: DeployRequest, asker: Asker, hosts: Sequence[OnceHost]) -> list[Problem]:
        """The hosts that a recipe's run-once steps name, known when the request comes: one of the rules that allow the
        rest must allow them. Hosts that are targets need no judging."""
        return list(self._unless_one_allows(request, asker, lambda each: map(each.refuses_once, hosts)))

    def promotions_of(self, request: DeployRequest) -> list[Promotion]:
        """Those that hold for it. Where there are any, the record is asked for the successes of its version."""
        return [each for each in self.promotions if each.covers(request)]

    def judge_promotion(self, request: DeployRequest, successes: Sequence[Success]) -> list[Problem]:
        """What must have succeeded elsewhere and has not."""
        missing = ((each, each.problem(request, successes)) for each in self.promotions_of(request))
        return [self._wording(problem, f"promote {each.name}", each.contact) for each, problem in missing if problem]

    def waiting_quotas(self, request: HasLane, asker: Asker) -> tuple[HeldQuota, ...]:
        """How many may wait, by every ``max_waiting`` that it counts for: judged by the record, which counts."""
        return tuple(self._held_quotas(request, asker, "waiting"))

    def running_quotas(self, request: HasLane, asker: Asker) -> tuple[HeldQuota, ...]:
        """How many may run at once, by every ``max_running`` that it counts for: the claim's to hold."""
        return tuple(self._held_quotas(request, asker, "running"))

    @property
    def most_running(self) -> Mapping[str, int]:
        """``max_running`` by the name of its limit, as the keys of ``running_quotas`` begin."""
        return {each.name: each.max_running for each in self.quotas if each.max_running is not None}

    def _held_quotas(self, request: HasLane, asker: Asker, what: QuotaKind) -> Iterator[HeldQuota]:
        asker = self.persons.recognise(asker)
        for quota in self.quotas:
            held = quota.held_by(request, asker, what=what, ask=self._ask(quota.contact))
            if held is not None:
                yield held

    def locks_after_rollback(self, lane: HasLane) -> Limit | None:
        """The limit that has the lane locked when a rollout there went back."""
        return next((each for each in self.limits if each.lock_after_rollback and each.scope.covers(lane)), None)

    def judge_control(
        self, command: CommandName, about: ControlledDeployment | ControlledLane, asker: Asker
    ) -> list[Problem]:
        """Everything that the rules have against a command; empty when it is permitted."""
        covering = [each for each in self.controls if each.covers(command, about)]
        if self.controls and not covering:
            text = f"{command} must not be given for {about.application} in {about.environment}"
            return [self._wording(Problem("command", f"{text}: no [[control]] covers it"), "control", "")]
        asker, persons = self.persons.recognise(asker), self.persons
        found = [(each, list(each.problems(command, about, asker, persons))) for each in covering]
        if not all(problems for _, problems in found):
            return []
        return [
            self._wording(problem, f"control {permission.name}", permission.contact)
            for permission, problems in found
            for problem in problems
        ]

    def permits_early_cancel(self, deployment: ControlledDeployment, asker: Asker) -> bool:
        """A cancel that came before its deploy event, judged when that comes. The record written directly is not."""
        return asker.way == "record" or not self.judge_control("cancel", deployment, asker)

    def _unless_one_allows(
        self,
        request: DeployRequest,
        asker: Asker,
        refuses: Callable[[Permission], Iterable[Problem | None]],
    ) -> Iterator[Problem]:
        """One of the rules that allow the rest must allow this too."""
        asker = self.persons.recognise(asker)
        fitting = [each for each in self._covering(request) if not any(each.problems(request, asker))]
        found = [(each, [problem for problem in refuses(each) if problem]) for each in fitting]
        if all(problems for _, problems in found):
            for permission, problems in found:
                for problem in problems:
                    yield self._wording(problem, f"allow {permission.name}", permission.contact)

    def _covering(self, request: DeployRequest) -> list[Permission]:
        return [each for each in self.permissions if each.scope.covers(request)]

    def _limits(self, request: DeployRequest) -> Iterator[Limit]:
        return (limit for limit in self.limits if limit.scope.covers(request))

    def _not_allowed(self, request: DeployRequest, asker: Asker) -> Iterator[Problem]:
        """What the ``[[allow]]`` rules have against it: also that it breaks the glass."""
        yield from self._unpermitted(request, asker)
        if request.break_glass is not None and not any(each.breaks_glass(request, asker) for each in self.permissions):
            text = "must be left out: no [[allow]] with break_glass = true covers you here"
            yield self._wording(Problem("break_glass", text), "allow", "")

    def _unpermitted(self, request: DeployRequest, asker: Asker) -> Iterator[Problem]:
        covering = self._covering(request)
        if not covering:
            if self.permissions and not self.allow_otherwise:
                problem = Problem("application", "must not be deployed in this environment: no [[allow]] covers it")
                yield self._wording(problem, "otherwise", "")
            return
        found = [list(each.problems(request, asker)) for each in covering]
        if not all(found):
            return
        for permission, problems in zip(covering, found, strict=True):
            for problem in problems if len(covering) == 1 else problems[:1]:
                more = f", or what another of {len(covering)} rules asks" if len(covering) > 1 else ""
                wording = replace(problem, message=problem.message + more)
                yield self._wording(wording, f"allow {permission.name}", permission.contact)

    def _wording(self, problem: Problem, rule: str, contact: str) -> Problem:
        return replace(problem, message=f"{problem.message} [{rule}]; ask {self._ask(contact)}", rule=rule)

    def _ask(self, contact: str) -> str:
        return contact or self.contact or "whoever keeps the policy"


ALLOW_ALL = Policy()
"""Without a policy file."""
