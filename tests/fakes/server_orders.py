"""What the record knows of servers beyond one deployment, in memory; it passes the contract suite of the real one."""

from dataclasses import replace

from tests.fakes.record import moment_text
from tests.fakes.store import FakeStore

from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction
from vesemir.engine.ports.server_orders import ServerOrder


class FakeServerOrders:
    """Implements ``ServerOrders``."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self._record = store.record

    async def last_with_server(self, lane: str, target: str) -> str | None:
        found = [
            (row.arrival, name)
            for name, row in self._record.rows.items()
            if row.lane == lane
            and row.started_at is not None
            and row.new.request.get("haproxy")
            and not row.new.request.get("dry_run")
            and (Direction.FORWARD, target) in row.targets
        ]
        return max(found)[1] if found else None

    async def worked_on_by(self, lane: str, target: str) -> str | None:
        for name, row in self._record.rows.items():
            states = (each for (_, name_of), each in row.targets.items() if name_of == target)
            busy = any(
                each.state in {TargetState.RUNNING, TargetState.UNKNOWN} and not each.finished for each in states
            )
            if row.lane == lane and not row.final and busy:
                return name
        return None

    async def last_order(self, lane: str, target: str) -> ServerOrder | None:
        found = [order for order in self._record.orders if (order.lane, order.target) == (lane, target)]
        return found[-1] if found else None

    async def keep_order(self, order: ServerOrder) -> None:
        self._record.orders.append(replace(order, ordered_at=moment_text(self._record.now())))
        self._record.left_drained.pop((order.lane, order.target), None)
        await self._store.audit(order.audited("accepted"))
