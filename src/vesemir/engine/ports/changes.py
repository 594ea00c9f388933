"""What a run commits, in the order given: changes of deployment, targets and steps, and events that tell of them."""

from dataclasses import dataclass

from vesemir.domain.events import ProgressEvent
from vesemir.domain.failure import Failure
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.domain.target import Target
from vesemir.domain.traffic_place import FoundBackends
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.engine.ports.records import LaneCommand, StepRecord, TargetRecord


@dataclass(frozen=True, slots=True)
class Emit:
    """The store adds the common fields, ``sequence`` and ``occurred_at``."""

    event: ProgressEvent


@dataclass(frozen=True, slots=True)
class MoveDeployment:
    """``failure`` is kept when given. ``resets_clock``: a rollback gets the deployment's time again.

    ``awaits_approval``: a move to ``paused`` that only a resume from now on ends; earlier approvals do not count.
    ``approves``: the batch whose gate is open from now on, so that no later owner asks for it again.
    """

    old: DeploymentState
    new: DeploymentState
    failure: Failure | None = None
    resets_clock: bool = False
    awaits_approval: bool = False
    approves: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """``deployment.started``: the clock begins; the plan's targets are there from now on.

    ``balancers`` are the load balancer boxes, kept so that a later owner can put HAProxy right without the inventory.
    ``recipe_source`` is the text of the recipe as the release before reads it too, so that a later owner goes on with
    the same steps; ``recipe_full`` is the whole text where that one leaves something out.
    ``backends`` is what ``haproxy.backend: "*"`` found; None for other requests.
    """

    targets: tuple[TargetRecord, ...]
    resolve_seconds: float
    balancers: tuple[Target, ...] = ()
    recipe_source: str = ""
    recipe_full: str = ""
    backends: FoundBackends | None = None


@dataclass(frozen=True, slots=True)
class AddTargets:
    """Rows of a rollback (``direction`` back)."""

    targets: tuple[TargetRecord, ...]


@dataclass(frozen=True, slots=True)
class MoveTarget:
    """``old`` is expected; ``finished`` makes it final."""

    name: str
    direction: Direction
    old: TargetState
    new: TargetState
    finished: bool = False
    failure: Failure | None = None
    duration_seconds: float | None = None
    connect_seconds: float | None = None
    in_traffic: bool | None = None


@dataclass(frozen=True, slots=True)
class Regress:
    """A target that succeeded on the way forward has failed since. It stays finished."""

    name: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class SkipPending:
    """Every pending target of that direction becomes ``skipped``, final."""

    direction: Direction


@dataclass(frozen=True, slots=True)
class Touch:
    """A recipe step is about to begin on this target."""

    name: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class RecordTraffic:
    name: str
    direction: Direction
    traffic: PriorTraffic


@dataclass(frozen=True, slots=True)
class RecordInTraffic:
    """What HAProxy says of the server of a target that was not begun."""

    name: str
    direction: Direction
    in_traffic: bool | None


@dataclass(frozen=True, slots=True)
class LeftDrained:
    """This target's server stays out of traffic beyond the deployment: counted until it is seen in traffic again."""

    name: str


@dataclass(frozen=True, slots=True)
class BackInTraffic:
    """This target's server was found in traffic, or put back into it."""

    name: str


@dataclass(frozen=True, slots=True)
class RecordStep:
    record: StepRecord


@dataclass(frozen=True, slots=True)
class LockLane:
    """Nothing new begins in the lane until somebody unlocks it, unless somebody has locked it so already.

    It has its row of the audit; ``rule`` is the one of the policy that asks for it.
    """

    command: LaneCommand
    rule: str


Change = (
    Emit
    | MoveDeployment
    | Start
    | AddTargets
    | MoveTarget
    | Regress
    | SkipPending
    | Touch
    | RecordTraffic
    | RecordInTraffic
    | LeftDrained
    | BackInTraffic
    | RecordStep
    | LockLane
)
