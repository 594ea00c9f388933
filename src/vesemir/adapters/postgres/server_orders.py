"""A lane's servers beyond one deployment, as ``engine.ports.server_orders`` asks for them."""

from contextlib import AsyncExitStack

from vesemir.adapters.postgres.audit import AuditChain
from vesemir.adapters.postgres.connections import Database, clean_text
from vesemir.adapters.postgres.rows import moment_of, traffic_of
from vesemir.adapters.postgres.statements import statements
from vesemir.engine.ports.server_orders import ServerCommand, ServerOrder


class RecordedServers:
    """Implements ``ServerOrders``."""

    def __init__(self, database: Database, audit_chain: AuditChain) -> None:
        self._database = database
        self._audit_chain = audit_chain

    async def last_with_server(self, lane: str, target: str) -> str | None:
        async with self._database.connection() as connection:
            found: str | None = await statements().last_with_server.value(connection, lane=lane, target=target)
        return found

    async def worked_on_by(self, lane: str, target: str) -> str | None:
        async with self._database.connection() as connection:
            found: str | None = await statements().worked_on_by.value(connection, lane=lane, target=target)
        return found

    async def last_order(self, lane: str, target: str) -> ServerOrder | None:
        async with self._database.connection() as connection:
            row = await statements().last_order.row(connection, lane=lane, target=target)
        if row is None:
            return None
        return ServerOrder(
            lane,
            target,
            ServerCommand(row["command"]),
            row["deployment_id"],
            row["requested_by"],
            row["reason"],
            traffic_of(row["traffic"]),
            row["backend"],
            moment_of(row["ordered_at"]),
        )

    async def keep_order(self, order: ServerOrder) -> None:
        async with AsyncExitStack() as until_commit, self._database.transaction() as connection:
            await statements().keep_order.run(
                connection,
                lane=order.lane,
                target=order.target,
                command=order.command.value,
                deployment_id=order.deployment_id,
                traffic=None if order.traffic is None else order.traffic.as_json(),
                backend=order.backend,
                requested_by=clean_text(order.requested_by),
                reason=None if order.reason is None else clean_text(order.reason),
            )
            await statements().forget_left_drained.run(connection, lane=order.lane, target=order.target)
            await self._audit_chain.append(connection, [order.audited("accepted")], until_commit)
