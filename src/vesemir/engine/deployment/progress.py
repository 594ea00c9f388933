"""How far a deployment has come under its owner: what its phases hand to each other, and its result is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from vesemir.domain.states import DeploymentState, deployment_move
from vesemir.engine.clock import loop_time
from vesemir.engine.deployment.prepare import PreparedDeployment
from vesemir.engine.ports.records import DeploymentRecord
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.row import Row


class DeploymentProgress:
    """Moved on by each phase: ``state`` as it is in the record now, ``rows`` once the targets are known (forward).

    ``record`` is the deployment as this owner loaded it.
    """

    def __init__(self, record: DeploymentRecord) -> None:
        self.record = record
        self.state: DeploymentState = record.state
        self.rows: Sequence[Row] = ()
        self.resolve_seconds = record.resolve_seconds or 0.0
        self._loaded_at = loop_time()

    def move(self, new: DeploymentState) -> DeploymentState:
        """The state before. Raises ``IllegalTransitionError``."""
        old, self.state = self.state, deployment_move(self.state, new)
        return old

    @property
    def total_seconds(self) -> float:
        """Since it was claimed first, under every owner."""
        return self.record.total_seconds + loop_time() - self._loaded_at


@dataclass(frozen=True, slots=True)
class StartedDeployment:
    """A deployment whose targets are known: what every phase after ``prepare`` works on."""

    deployment: Deployment
    prepared: PreparedDeployment
    progress: DeploymentProgress
