"""Deploy events in: judged, stored, and only then acknowledged. Nothing is run from here.

Everything that can be told without the network is told at once, with ``deployment.rejected`` and a copy of the message
in the rejected queue; the rest is the run's to find out. A handler that returns lets the message be acknowledged; one
that raises (the database or the broker is away) has it come again, and all of it is idempotent.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from vesemir.contract import DEFAULTS, CommonFields, Parsed, Refusal, internal_refusal, parse_deploy_event, refusal
from vesemir.domain.audit import AuditEntry, digest_of
from vesemir.domain.control import ControlledDeployment
from vesemir.domain.deciding_rule import rule_of_request
from vesemir.domain.failure import FailureCode
from vesemir.domain.identity import Asker
from vesemir.domain.lane_lock import LaneLock
from vesemir.domain.problem import Problem
from vesemir.domain.quota import TooManyWaiting
from vesemir.domain.recipe import Recipe, check_parameters
from vesemir.domain.request import DeployRequest, Timeouts
from vesemir.domain.turns import TurnKey, requester_of
from vesemir.domain.waiting import moment_problems
from vesemir.engine.clock import wall_time
from vesemir.engine.failpoints import Failpoint, reach
from vesemir.engine.messages.answers import Answers
from vesemir.engine.messages.promotions import missing_promotions
from vesemir.engine.messages.refusal_entry import refusal_entry
from vesemir.engine.ownership.secret_parameters import Secrecy, is_placeholder
from vesemir.engine.ports.broker import IncomingMessage
from vesemir.engine.ports.inventory import Inventory
from vesemir.engine.ports.observe import IntakeOutcome, Log, Meters
from vesemir.engine.ports.policies import Policies
from vesemir.engine.ports.recipes import Recipes
from vesemir.engine.ports.records import Destination, NewDeployment
from vesemir.engine.ports.store import AcceptAnswer, AcceptKind, ControlCommand, Store
from vesemir.engine.upkeep.unbegun import count_cancelled


@dataclass(frozen=True, slots=True)
class Judged:
    """A request of the right form. ``refusal`` is why recipes, policy or inventory do not allow it now.

    ``recipe`` is the one it was judged by (its secret parameters are); folders may hold another a moment later.
    """

    parsed: Parsed
    recipe: Recipe
    refusal: Refusal | None
    policy_digest: str | None = None
    rule: str | None = None
    """Which one of the policy allowed it."""

    @property
    def recipe_digest(self) -> str | None:
        return digest_of(self.recipe.source)


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What a request is judged by beside its form."""

    recipes: Recipes
    policies: Policies
    inventory: Inventory
    caps: Timeouts
    max_bytes: int
    namespace: str
    secrecy: Secrecy
    reply_to_pattern: re.Pattern[str] | None = None

    def judge(self, message: IncomingMessage, now: float) -> Judged | Refusal:
        """The request, or the one clear reason why it is refused. ``now`` in seconds since the epoch."""
        parsed = parse_deploy_event(
            message.body,
            max_bytes=self.max_bytes,
            caps=self.caps,
            namespace=self.namespace,
            properties=message.properties,
            reply_to_pattern=self.reply_to_pattern,
        )
        if isinstance(parsed, Refusal):
            return parsed
        request = parsed.request
        self.recipes.refresh()
        self.policies.refresh()
        recipe, policy = self.recipes.get(request.recipe), self.policies.current
        asker = message.asker(request.requested_by)
        refused = (
            self._refused_recipe(request, recipe)
            or self._refused_policy(request, asker, now)
            or self._refused_hosts(request)
        )
        rule = rule_of_request(policy, request, asker)
        return Judged(parsed, recipe or Recipe(request.recipe), refused, policy.digest, rule)

    def internal_refusal(self, message: IncomingMessage, error: Exception) -> Refusal:
        return internal_refusal(message.body, error, max_bytes=self.max_bytes, encoding=message.content_encoding)

    def _refused_recipe(self, request: DeployRequest, recipe: Recipe | None) -> Refusal | None:
        if recipe is None:
            known = ", ".join(self.recipes.names) or "none"
            problem = Problem("recipe", f"must be one of: {known}")
            return _refuse(request, FailureCode.REQUEST_UNKNOWN_RECIPE, [problem])
        _, problems = check_parameters(recipe, request.parameters)
        problems += [
            Problem(f"parameters.{name}", "is what the record shows for a secret: give the secret itself")
            for name, value in request.parameters.items()
            if is_placeholder(value)
        ]
        if problems:
            return _refuse(request, FailureCode.REQUEST_INVALID_PARAMETERS, problems)
        if problems := self.secrecy.refuse(recipe, request.parameters):
            return _refuse(request, FailureCode.REQUEST_FORBIDDEN, problems)
        return self._refused_rollout(request, recipe)

    @staticmethod
    def _refused_rollout(request: DeployRequest, recipe: Recipe) -> Refusal | None:
        """What this recipe cannot do is not quietly left out."""
        if request.rollout.on_failure == "rollback" and not recipe.rollback:
            problem = Problem("rollout.on_failure", f"cannot be rollback: recipe {recipe.name} has no way back")
            return _refuse(request, FailureCode.REQUEST_INVALID, [problem])
        return None

    def _refused_policy(self, request: DeployRequest, asker: Asker, now: float) -> Refusal | None:
        problems = self.policies.current.judge(request, asker, now)
        return _refuse(request, FailureCode.REQUEST_FORBIDDEN, problems) if problems else None

    def _refused_hosts(self, request: DeployRequest) -> Refusal | None:
        problems = [
            Problem(f"targets.{problem.field}", problem.message, problem.code)
            for problem in self.inventory.refuse(request.targets)
        ]
        if request.haproxy is not None:
            problems += [
                Problem(f"haproxy.targets.{problem.field}", problem.message, problem.code)
                for problem in self.inventory.refuse(request.haproxy.targets)
            ]
        code = next((problem.code for problem in problems if problem.code), FailureCode.TARGETS_UNKNOWN_HOST)
        return _refuse(request, code, problems) if problems else None


_CONFLICTS = {
    AcceptKind.CONFLICT: "was used before with another body; a new deployment needs a new id",
    AcceptKind.BEFORE_RESTORE: (
        "may have run already: the record was restored from a backup, and this event was sent before that, or does not "
        "say when (AMQP timestamp); send it with a new id, or `vesemir migrate --accept-repeats` takes it as it is"
    ),
}


class Intake:
    """The handler of the deployments queue. ``on_accepted``: there may be something to claim or to publish."""

    def __init__(
        self,
        rules: IntakeRules,
        *,
        store: Store,
        answers: Answers,
        log: Log,
        meters: Meters,
        on_accepted: Callable[[], None],
    ) -> None:
        self._rules = rules
        self._store = store
        self._answers = answers
        self._log = log
        self._meters = meters
        self._on_accepted = on_accepted

    async def handle(self, message: IncomingMessage) -> None:
        """Raises ``StoreAwayError`` or ``BrokerAwayError``: the message must come again."""
        # In a thread: it may have to read changed files.
        judged = await asyncio.to_thread(self._rules.judge, message, wall_time())
        if isinstance(judged, Refusal):
            await self._refuse(message, judged)
            return
        judged = await self._promoted(judged)
        request = judged.parsed.request
        judged = await self._by_the_clock(judged)
        if judged.refusal is not None and (refused := await self._refused(judged, judged.refusal, message)) is not None:
            await self._refuse(message, refused, judged)
            return
        reach(Failpoint.BEFORE_INSERT)
        kind = await self._store.accept(self._new(judged, message), _destination(message), permits=self._permits)
        reach(Failpoint.BEFORE_ACKNOWLEDGE)
        if not isinstance(kind, AcceptKind) or kind in _CONFLICTS:
            await self._refuse(message, _kept_out(request, kind), judged)
            return
        if kind is AcceptKind.CLEANED and (result := await self._store.kept_result(request.deployment_id)):
            await self._answers.result_again(message, result)
        if kind is AcceptKind.CANCELLED:
            count_cancelled(self._meters, dry_run=request.dry_run)
        new = kind in {AcceptKind.ACCEPTED, AcceptKind.CANCELLED}
        self._meters.event_received(IntakeOutcome.ACCEPTED if new else IntakeOutcome.REPEATED)
        self._log.info(
            "{kind}: {version} of {application} in {environment}, recipe {recipe}",
            kind=kind.value,
            version=request.version,
            application=request.application,
            environment=request.environment,
            recipe=request.recipe,
            deployment_id=request.deployment_id,
        )
        if new and request.break_glass is not None:
            self._meters.glass_broken()
            self._log.warning(
                "breaks the glass in {application}/{environment}: it goes past locks, freezes and missing promotions",
                application=request.application,
                environment=request.environment,
                deployment_id=request.deployment_id,
            )
        self._on_accepted()

    async def _promoted(self, judged: Judged) -> Judged:
        """Refused, if something must have succeeded elsewhere first. Asked of the record, so after all else."""
        request = judged.parsed.request
        if judged.refusal is not None or request.dry_run:
            return judged
        problems = await missing_promotions(self._rules.policies.current, request, self._store)
        missing = _refuse(request, FailureCode.PROMOTION_MISSING, problems) if problems else None
        return replace(judged, refusal=missing)

    async def _by_the_clock(self, judged: Judged) -> Judged:
        """The clock of the record is the one that counts; only a request with moments needs it."""
        request = judged.parsed.request
        if judged.refusal is not None or (request.not_before is None and request.not_after is None):
            return judged
        problems = moment_problems(request.not_before, request.not_after, await self._store.clock())
        return replace(judged, refusal=_refuse(request, FailureCode.REQUEST_INVALID, problems)) if problems else judged

    def _turn(self, request: DeployRequest, asker: Asker) -> TurnKey:
        policy = self._rules.policies.current
        quotas = tuple(quota.key for quota in policy.running_quotas(request, asker))
        return TurnKey(requester_of(policy.persons.recognise(asker)), quotas)

    def _permits(self, cancel: ControlCommand, deployment: ControlledDeployment) -> bool:
        return self._rules.policies.current.permits_early_cancel(deployment, cancel.asker)

    async def refuse_as_bug(self, message: IncomingMessage, error: Exception) -> None:
        """The last resort of the poison guard. Raises as ``handle`` does."""
        await self._refuse(message, self._rules.internal_refusal(message, error))

    def _new(self, judged: Judged, message: IncomingMessage) -> NewDeployment:
        parsed, secrecy = judged.parsed, self._rules.secrecy
        request, recipe = parsed.request, judged.recipe
        shown, sealed = secrecy.kept(request.deployment_id, parsed.raw, recipe=recipe, given=request.parameters)
        asker = message.asker(shown.get("requested_by"))
        return NewDeployment(
            deployment_id=request.deployment_id,
            body_hash=parsed.body_hash,
            request=shown,
            application=request.application,
            environment=request.environment,
            version=request.version,
            recipe=request.recipe,
            team=request.team,
            requested_by=shown.get("requested_by"),
            asker=asker,
            sealed=sealed,
            defaults=DEFAULTS,
            sent_at=message.sent_at,
            policy_digest=judged.policy_digest,
            recipe_digest=judged.recipe_digest,
            rule=judged.rule,
            quotas=self._rules.policies.current.waiting_quotas(request, asker),
            break_glass=None if request.break_glass is None else shown["break_glass"]["reason"],
            not_before=request.not_before,
            not_after=request.not_after,
            turn=self._turn(request, asker),
        )

    async def _refused(self, judged: Judged, refusal: Refusal, message: IncomingMessage) -> Refusal | None:
        """What was accepted once is never refused to its requester later: rules, recipes and hosts may have changed
        since. Somebody else may ask for it again where an ``[[allow]]`` lets him ask for it at all."""
        request = judged.parsed.request
        known = await self._store.known(request.deployment_id)
        if known is None:
            return refusal
        if known.body_hash != judged.parsed.body_hash:
            return _conflict(request, AcceptKind.CONFLICT)
        policy, asker = self._rules.policies.current, message.asker(request.requested_by)
        if known.certain and policy.persons.same(known.identity, asker.identity):
            return None
        problems = policy.judge_repeat(request, asker)
        return _refuse(request, FailureCode.REQUEST_FORBIDDEN, problems) if problems else None

    async def _refuse(self, message: IncomingMessage, refusal: Refusal, judged: Judged | None = None) -> None:
        self._meters.event_received(IntakeOutcome.REJECTED, refusal.code)
        self._log.warning(
            "deploy event refused: {code}: {reason}",
            code=refusal.code.value,
            reason=refusal.message,
            deployment_id=refusal.common.deployment_id,
        )
        await self._store.audit(self._audited(message, refusal, judged))
        await self._answers.rejected(message, refusal)

    def _audited(self, message: IncomingMessage, refusal: Refusal, judged: Judged | None) -> AuditEntry:
        if judged is None:
            return refusal_entry(message, refusal)
        claimed = judged.parsed.request.requested_by
        return refusal_entry(
            message,
            refusal,
            claimed=None if claimed is None else self._rules.secrecy.redact(claimed),
            policy=judged.policy_digest,
            recipe=judged.recipe_digest,
        )


def _refuse(request: DeployRequest, code: FailureCode, problems: list[Problem]) -> Refusal:
    common = CommonFields(request.deployment_id, request.application, request.environment, request.version)
    return refusal(code, tuple(problems), common)


def _kept_out(request: DeployRequest, answer: AcceptAnswer) -> Refusal:
    """Of what only the record could tell."""
    match answer:
        case LaneLock():
            return _refuse(request, FailureCode.LANE_LOCKED, [answer.problem()])
        case TooManyWaiting():
            return _refuse(request, FailureCode.REQUEST_TOO_MANY_WAITING, [answer.problem])
        case _:
            return _conflict(request, answer)


def _conflict(request: DeployRequest, kind: AcceptKind) -> Refusal:
    return _refuse(request, FailureCode.REQUEST_CONFLICT, [Problem("deployment_id", _CONFLICTS[kind])])


def _destination(message: IncomingMessage) -> Destination | None:
    return Destination(message.reply_to, message.correlation_id) if message.reply_to else None
