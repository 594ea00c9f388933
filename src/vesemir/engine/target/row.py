"""How one target stands in a run: the owner's picture of its row, changed together with what is written."""

from dataclasses import dataclass

from vesemir.domain.events import TargetFinishedEvent, TargetRegressedEvent
from vesemir.domain.failure import Failure
from vesemir.domain.rollout import Standing
from vesemir.domain.states import TargetState, finishes_target, target_regression
from vesemir.domain.step import Direction
from vesemir.domain.target import Target
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.engine.ports.changes import Emit, MoveTarget, RecordInTraffic, Regress
from vesemir.engine.ports.records import TargetRecord


@dataclass(slots=True)
class Row:
    """Mutable on purpose; its run is its only owner."""

    target: Target
    direction: Direction
    batch: int
    position: int
    state: TargetState
    finished: bool
    touched: bool
    resumed: bool
    """It was in work before this claim, so what happened on the host is to be found out first."""
    prepared: bool = False
    """Its prepare steps are known to be done, while nothing else of it was begun (``rollout.prepare``)."""
    failure: Failure | None = None
    traffic: PriorTraffic | None = None
    duration_seconds: float | None = None
    connect_seconds: float | None = None
    in_traffic: bool | None = None
    """What HAProxy said of its server at its end."""

    @classmethod
    def of(cls, record: TargetRecord) -> "Row":
        return cls(
            target=Target(record.name, record.address, record.port, record.user, record.variables, record.source),
            direction=record.direction,
            batch=record.batch,
            position=record.position,
            state=record.state,
            finished=record.finished,
            touched=record.touched,
            resumed=record.state is TargetState.UNKNOWN and not record.finished,
            failure=record.failure,
            traffic=record.traffic,
            duration_seconds=record.duration_seconds,
            connect_seconds=record.connect_seconds,
            in_traffic=record.in_traffic,
        )

    def way_back(self) -> TargetRecord:
        """The row of a rollback: the same target, from what was in HAProxy before the deployment."""
        return TargetRecord(
            name=self.name,
            direction=Direction.BACK,
            address=self.target.address,
            port=self.target.port,
            user=self.target.user,
            variables=self.target.variables,
            source=self.target.source,
            batch=self.batch,
            position=self.position,
            traffic=self.traffic,
        )

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def never_begun(self) -> bool:
        """No event told of its end."""
        return not self.finished or self.state is TargetState.SKIPPED

    @property
    def changed(self) -> bool:
        """What it serves may be broken by now: if it fails, it gets no traffic back (contract section 5)."""
        return self.touched or self.direction is Direction.BACK

    @property
    def standing(self) -> Standing:
        return Standing(self.state, self.finished, self.failure)

    def move(self, new: TargetState, *, finished: bool = False, failure: Failure | None = None) -> MoveTarget:
        """Change the picture and give the change to write. Raises ``IllegalTransitionError``."""
        self.finished = finishes_target(self.state, new, finished=finished)
        old, self.state = self.state, new
        self.failure = failure
        return MoveTarget(
            self.name,
            self.direction,
            old,
            new,
            finished=self.finished,
            failure=failure,
            duration_seconds=self.duration_seconds,
            connect_seconds=self.connect_seconds,
            in_traffic=self.in_traffic,
        )

    def finish(self, state: TargetState, failure: Failure | None) -> tuple[MoveTarget, Emit]:
        """The last change of a target, and the event that tells of it."""
        event = TargetFinishedEvent(
            self.name, self.direction, state, failure, self.duration_seconds, in_traffic=self.in_traffic
        )
        return self.move(state, finished=True, failure=failure), Emit(event)

    def regress(self, failure: Failure, *, in_traffic: bool | None) -> tuple[Regress, RecordInTraffic, Emit]:
        """It had succeeded, and was not well when it was looked at again. Raises ``IllegalTransitionError``."""
        self.state, self.failure, self.in_traffic = target_regression(self.state), failure, in_traffic
        seen = RecordInTraffic(self.name, self.direction, in_traffic)
        return Regress(self.name, failure), seen, Emit(TargetRegressedEvent(self.name, failure, in_traffic))
