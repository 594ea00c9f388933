"""What earlier deployments of a lane left drained: the next one that succeeds on the host brings it back."""

from collections.abc import Sequence

from vesemir.domain.traffic_healing import healed
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.engine.ports.store import Store
from vesemir.engine.traffic.server import ServerOnBox


class LeftBefore:
    """Of one lane, ``application/environment``."""

    def __init__(self, store: Store, lane: str) -> None:
        self._store = store
        self._lane = lane

    async def healed(self, target: str, servers: Sequence[ServerOnBox], found: PriorTraffic) -> PriorTraffic:
        """``found``, with what it comes back to where an earlier deployment left it so. Raises ``StoreAwayError``.

        The record is asked only for a server that was found out of traffic.
        """
        if not any(state.is_taken_out for state in found.places.values()):
            return found
        earlier = await self._store.earlier_drain(self._lane, target)
        if earlier is None:
            return found
        return healed(
            found,
            earlier.traffic,
            left_by=earlier.deployment_id,
            earlier_backend=earlier.backend,
            backends={server.place: server.backend for server in servers},
        )

    def ready_command(self, target: str) -> str:
        """What puts a server back that Vesemir left drained."""
        application, _, environment = self._lane.partition("/")
        return f"vesemir ready {target} --application {application} --environment {environment}"
