"""Before the first target: what the record asks for, which hosts, which batches, and whether everything can be
rendered for each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vesemir.domain.events import DeploymentStartedEvent
from vesemir.domain.failure import FailedError, Failure, FailureCode
from vesemir.domain.hiding import Redactor
from vesemir.domain.identity import Asker
from vesemir.domain.plan import Plan, make_plan
from vesemir.domain.problem import Problem, some_of
from vesemir.domain.recipe import Recipe, check_parameters, claimed_in_vain
from vesemir.domain.render_values import RenderError
from vesemir.domain.request import DeployRequest
from vesemir.domain.step import Direction
from vesemir.domain.target import OWN_VARIABLES, Target
from vesemir.domain.traffic_place import FoundBackends, names_found
from vesemir.domain.waiting import expired
from vesemir.engine.clock import loop_time, wall_time
from vesemir.engine.deployment.failures import unknown_recipe
from vesemir.engine.limits import EngineLimits
from vesemir.engine.ownership.recorder import Recorder
from vesemir.engine.ownership.secret_parameters import (
    UnsealableError,
    opened,
    secrets_of,
    secrets_unreadable,
    storable_texts,
)
from vesemir.engine.ports.changes import Emit, Start
from vesemir.engine.ports.observe import Phase
from vesemir.engine.ports.records import DeploymentRecord, Json, TargetRecord
from vesemir.engine.target.context import EnginePorts
from vesemir.engine.target.row import Row
from vesemir.engine.target.step_runner import steps_for
from vesemir.engine.traffic.server_places import find_backends


@dataclass(frozen=True, slots=True)
class Claimed:
    """``unrecoverable`` is why nothing more can be done for it but to leave what is in work in order."""

    request: DeployRequest
    recipe: Recipe
    unrecoverable: Failure | None


def asked_for(
    record: DeploymentRecord,
    *,
    ports: EnginePorts,
    read_request: Callable[[Json, Json | None], DeployRequest],
    redact: Redactor,
) -> Claimed:
    """Its secrets are hidden from now on."""
    unrecoverable = None
    try:
        request = read_request(opened(record, ports.seal), record.defaults)
    except UnsealableError as error:
        request, unrecoverable = read_request(record.request, record.defaults), secrets_unreadable(error)
    known = _recipe(record, request, ports)
    recipe = known or Recipe(request.recipe)
    if known is None:
        unrecoverable = unknown_recipe(request.recipe, recorded=record.recipe_source is not None)
    redact.add(secrets_of(recipe, request, shown=record.request))
    return Claimed(request, recipe, unrecoverable)


def _recipe(record: DeploymentRecord, request: DeployRequest, ports: EnginePorts) -> Recipe | None:
    """What has begun goes on with the recipe that it began with, whatever the folders hold by now."""
    if record.recipe_source is not None:
        return ports.recipes.recorded(request.recipe, record.recipe_source)
    return ports.recipes.get(request.recipe)


@dataclass(frozen=True, slots=True)
class BeginBy:
    """``not_after`` in RFC 3339, and when that is on the loop's clock, a moment early."""

    loop_seconds: float
    not_after: str

    def ensure(self) -> None:
        """Raises ``FailedError`` once it is too late."""
        if loop_time() >= self.loop_seconds:
            failure = expired(self.not_after)
            raise FailedError(failure.code, failure.message)


class PreparedDeployment:
    """The targets as rows, the plan over them, the load balancer boxes, and what ``haproxy.backend: "*"`` found."""

    def __init__(
        self,
        plan: Plan,
        rows: Mapping[str, Row],
        balancers: Sequence[Target],
        *,
        backends: FoundBackends | None = None,
    ) -> None:
        self.plan = plan
        self.rows = rows
        self.balancers = balancers
        self.backends = backends


def again(record: DeploymentRecord, request: DeployRequest) -> PreparedDeployment:
    """What an earlier owner prepared, as it was recorded: the inventory is not asked twice."""
    rows = [Row.of(each) for each in record.targets if each.direction is Direction.FORWARD]
    rows.sort(key=lambda row: row.position)
    plan = make_plan([row.target for row in rows], request.rollout)
    return PreparedDeployment(plan, {row.name: row for row in rows}, record.balancers, backends=record.backends)


async def prepare(
    request: DeployRequest,
    recipe: Recipe,
    *,
    asker: Asker,
    recorder: Recorder,
    ports: EnginePorts,
    limits: EngineLimits,
    begin_by: BeginBy | None = None,
) -> tuple[PreparedDeployment, float]:
    """Resolve, plan and record it with ``deployment.started``; with the seconds that resolving took.

    The policy is asked again: rules and hour may be others than when the request was accepted. A freeze that was not
    judged then, because ``not_before`` was to come, is judged now, whatever this instance's clock says.
    Raises ``FailedError`` for what only resolving can tell (contract section 2), ``LeaseLostError``.
    """
    policy = ports.policies.current
    _ensure_in_time(begin_by)
    _permit(policy.judge(request, asker, max(wall_time(), request.not_before or 0.0)))
    _check_parameters(recipe, request)
    started = loop_time()
    targets, balancers = await _resolve(request, recipe, ports)
    seconds = loop_time() - started
    ports.meters.phase_finished(Phase.RESOLVE, seconds=seconds)
    _limit_targets(len(targets), limits)
    _permit(policy.judge_targets(request, asker, [target.name for target in targets]))
    backends = await _found_backends(request, targets, balancers, ports)
    _permit(policy.judge_backends(request, asker, names_found(backends or {})))
    plan = make_plan(targets, request.rollout)
    _check_rendering(recipe, request, targets, limits)
    records = _records(plan, targets)
    by_name = {target.name: target for target in targets}
    event = DeploymentStartedEvent([by_name[name] for name in plan.names], plan)
    texts = storable_texts(recipe, ports.redact)
    start = Start(records, seconds, tuple(balancers), *texts, backends=backends)
    _ensure_in_time(begin_by)
    await recorder.write(start, Emit(event))
    ports.log.info(
        "resolved {targets} targets in {seconds:.2f} s; {batches} batches",
        targets=len(targets),
        seconds=seconds,
        batches=len(plan.batches),
    )
    rows = {record.name: Row.of(record) for record in records}
    return PreparedDeployment(plan, rows, balancers, backends=backends), seconds


def _ensure_in_time(begin_by: BeginBy | None) -> None:
    if begin_by is not None:
        begin_by.ensure()


async def _resolve(
    request: DeployRequest, recipe: Recipe, ports: EnginePorts
) -> tuple[Sequence[Target], Sequence[Target]]:
    """The targets, and the load balancer boxes."""
    targets = await ports.inventory.resolve(request.targets)
    _check_trust(recipe, targets)
    balancers = await ports.inventory.resolve(request.haproxy.targets) if request.haproxy else []
    return [_known(box, recipe, request) for box in targets], [box.knowing(OWN_VARIABLES) for box in balancers]


async def _found_backends(
    request: DeployRequest, targets: Sequence[Target], balancers: Sequence[Target], ports: EnginePorts
) -> FoundBackends | None:
    """What ``"*"`` means now, for as long as the deployment lasts. Raises ``haproxy.unreachable``."""
    traffic = request.haproxy
    if traffic is None or not traffic.every_backend:
        return None
    async with ports.balancers.open(balancers) as boxes:
        return await find_backends(boxes, [traffic.server_of(target.name) for target in targets])


def _known(target: Target, recipe: Recipe, request: DeployRequest) -> Target:
    """With what this deployment needs of the inventory, which may hold passwords for others: only that is recorded."""
    order_by = request.rollout.order_by
    return target.knowing(OWN_VARIABLES.union(recipe.variables, {order_by} if order_by else ()))


def _limit_targets(found: int, limits: EngineLimits) -> None:
    if found > limits.targets:
        text = f"{found} hosts were found, limits.targets allows {limits.targets}; narrow the selector"
        raise FailedError(FailureCode.REQUEST_FORBIDDEN, text)


def _check_trust(recipe: Recipe, targets: Sequence[Target]) -> None:
    problems = [
        f"{target.name}: {', '.join(names)}" for target in targets if (names := claimed_in_vain(recipe, target.claimed))
    ]
    if problems:
        text = (
            f"recipe {recipe.name} takes variables from the operator alone that hosts say of themselves "
            f"({some_of(problems)}): remove them there, and set them in fixed_variables of the settings"
        )
        raise FailedError(FailureCode.TARGETS_INVALID_ATTRIBUTES, text)


def _permit(problems: Sequence[Problem]) -> None:
    if problems:
        text = "; ".join(f"{problem.field} {problem.message}" for problem in problems)
        raise FailedError(FailureCode.REQUEST_FORBIDDEN, text)


def _check_parameters(recipe: Recipe, request: DeployRequest) -> None:
    """The recipe may be another version than the one that the request was accepted with."""
    _, problems = check_parameters(recipe, request.parameters)
    if problems:
        text = "; ".join(f"{problem.field} {problem.message}" for problem in problems)
        raise FailedError(FailureCode.REQUEST_INVALID_PARAMETERS, text)


def _check_rendering(recipe: Recipe, request: DeployRequest, targets: Sequence[Target], limits: EngineLimits) -> None:
    try:
        for target in targets:
            steps_for(recipe, request, target, Direction.FORWARD, limits)
    except RenderError as error:
        raise FailedError(FailureCode.REQUEST_INVALID_PARAMETERS, str(error)) from error


def _records(plan: Plan, targets: Sequence[Target]) -> tuple[TargetRecord, ...]:
    by_name = {target.name: target for target in targets}
    placed = ((batch.number, name) for batch in plan.batches for name in batch.names)
    return tuple(
        TargetRecord(
            name=name,
            direction=Direction.FORWARD,
            address=by_name[name].address,
            port=by_name[name].port,
            user=by_name[name].user,
            variables=by_name[name].variables,
            source=by_name[name].source,
            batch=number,
            position=position,
        )
        for position, (number, name) in enumerate(placed, start=1)
    )
