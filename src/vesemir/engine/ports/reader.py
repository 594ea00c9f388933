"""The port to what is only read: what the HTTP interface shows of the record."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from vesemir.engine.ports.store import SILENT_SECONDS, StoredEvent
from vesemir.engine.ports.views import DeploymentSummary, DeploymentView, InstanceView


class DeploymentReader(Protocol):
    """Raises ``StoreAwayError`` when the record does not answer in time."""

    async def deployment_view(self, deployment_id: str) -> DeploymentView | None:
        """All of one deployment, or None if there is none of that id."""
        ...

    async def deployments(
        self,
        *,
        limit: int = 50,
        before: str | None = None,
        application: str | None = None,
        environment: str | None = None,
        state: str | None = None,
        team: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[DeploymentSummary]:
        """Newest first. ``before`` is a deployment's id: those accepted before it (none, if it is unknown)."""
        ...

    async def kept_result(self, deployment_id: str) -> StoredEvent | None:
        """All that is left of a deployment that was cleaned up."""
        ...

    async def events(self, deployment_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[StoredEvent]:
        """Complete events with a higher sequence than ``after``, in order."""
        ...

    async def instances(self, *, silent_seconds: float = SILENT_SECONDS) -> Sequence[InstanceView]:
        """As ``vesemir.engine.ports.store.InstanceTable`` has them."""
        ...
