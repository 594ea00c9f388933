"""Servers that a person orders into traffic or out of it: ``vesemir ready`` and ``vesemir drain``.

It is the traffic of a deployment without a deployment: the load balancers, backends and server's name are those of the
lane's newest deployment with that target, the order of steps is the same, and capacity is counted in the same sections.
A target that a deployment has in work is the deployment's: that is looked at again in the section in which deployments
drain, so that no server is given traffic while its release changes.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.identity import UNPROVED, Asker
from vesemir.domain.request import DeployRequest
from vesemir.domain.traffic_healing import healed
from vesemir.domain.traffic_prior import PriorTraffic
from vesemir.engine.limits import EngineLimits
from vesemir.engine.ports.load_balancer import LoadBalancers
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.records import DeploymentRecord, Json
from vesemir.engine.ports.server_orders import ServerCommand, ServerOrder, ServerOrders, order_entry
from vesemir.engine.ports.store import Store
from vesemir.engine.traffic.left_before import LeftBefore
from vesemir.engine.traffic.traffic import Traffic


@dataclass(frozen=True, slots=True)
class AskedServer:
    """``host`` is a target's name in the lane ``application/environment``."""

    lane: str
    host: str
    requested_by: str
    reason: str | None = None
    asker: Asker = UNPROVED


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the server stands, and by which deployment that is known."""

    deployment_id: str
    backend: str
    """Of the places that name none."""
    traffic: Traffic


class ServersByHand:
    """Every method returns a sentence about what was done, and raises ``FailedError`` with what stands in the way."""

    def __init__(
        self,
        store: Store,
        orders: ServerOrders,
        balancers: LoadBalancers,
        *,
        limits: EngineLimits,
        read_request: Callable[[Json, Json | None], DeployRequest],
        log: Log,
    ) -> None:
        self._store = store
        self._orders = orders
        self._balancers = balancers
        self._limits = limits
        self._read_request = read_request
        self._log = log

    async def ready(self, asked: AskedServer) -> str:
        """Put it back after a fresh passed check. One that somebody else took out is left alone."""
        async with self._refusals_audited(asked, ServerCommand.READY), self._placed(asked) as place:
            found = await place.traffic.observe(asked.host)
            if not found.found_out:
                await self._keep(asked, ServerCommand.READY, place)
                return "is in traffic already: nothing was changed"
            wanted = await self._wanted(asked, place, found)
            await place.traffic.warm_up(asked.host, wanted)
            async with place.traffic.alone(asked.host):
                await self._refuse_in_work(asked)
                said = await place.traffic.assert_in(asked.host, wanted)
            await self._keep(asked, ServerCommand.READY, place)
        self._log.info("{host} was put back into traffic by {who}", host=asked.host, who=asked.requested_by)
        return f"was put back: {said}"

    async def drain(self, asked: AskedServer) -> str:
        """Take it out as a deployment does, and leave it drained."""
        async with self._refusals_audited(asked, ServerCommand.DRAIN), self._placed(asked) as place:
            await self._refuse_in_work(asked)
            found = await place.traffic.observe(asked.host)
            if found.found_out:
                await self._keep(asked, ServerCommand.DRAIN, place, found=found)
                return f"is out of traffic already ({found.shown}): nothing was changed, and deployments leave it so"
            await place.traffic.take_out(asked.host, found)
            await self._refuse_in_work(asked)
            await place.traffic.leave_drained(asked.host, found)
            await self._keep(asked, ServerCommand.DRAIN, place, found=found)
        self._log.info("{host} was drained by {who}", host=asked.host, who=asked.requested_by)
        ready = LeftBefore(self._store, asked.lane).ready_command(asked.host)
        return f"is drained, agent checks off, until `{ready}`"

    async def _wanted(self, asked: AskedServer, place: _Place, found: PriorTraffic) -> PriorTraffic:
        """What it comes back to: as it was before Vesemir took it out."""
        if found.healthy:
            return found
        order = await self._orders.last_order(asked.lane, asked.host)
        if order is not None and order.command is ServerCommand.DRAIN and order.traffic is not None:
            ordered = healed(
                found,
                order.traffic,
                left_by=order.deployment_id,
                earlier_backend=order.backend,
                backends=place.traffic.backends_of(asked.host),
            )
            if ordered.healthy:
                return ordered
        text = (
            f"{asked.host} is out of traffic ({found.shown}), and the record has no deployment and no vesemir drain "
            "that left it so: it is put back in HAProxy by the person who took it out"
        )
        raise FailedError(FailureCode.HAPROXY_NOT_UP, text)

    async def _refuse_in_work(self, asked: AskedServer) -> None:
        busy = await self._orders.worked_on_by(asked.lane, asked.host)
        if busy is not None:
            text = (
                f"deployment {busy} works on {asked.host} now, and its server is that deployment's until it is done: "
                f"see vesemir status {busy}"
            )
            raise FailedError(FailureCode.TARGET_BUSY, text)

    @asynccontextmanager
    async def _placed(self, asked: AskedServer) -> AsyncIterator[_Place]:
        await self._refuse_in_work(asked)
        record = await self._known(asked)
        request = self._read_request(record.request, record.defaults)
        assert request.haproxy is not None  # noqa: S101 - the query has seen to it
        async with self._balancers.open(record.balancers) as boxes:
            traffic = Traffic(
                boxes,
                request.haproxy,
                min_available=None,
                capacity_seconds=0,
                up_seconds=self._limits.up_seconds,
                ensure=_nothing,
                critical=self._store.section,
                before=LeftBefore(self._store, asked.lane),
                found=record.backends,
            )
            backend = "" if request.haproxy.several else request.haproxy.backends[0]
            yield _Place(record.deployment_id, backend, traffic)

    @asynccontextmanager
    async def _refusals_audited(self, asked: AskedServer, command: ServerCommand) -> AsyncIterator[None]:
        try:
            yield
        except FailedError as error:
            failure = error.failure
            entry = order_entry(
                asked.lane,
                asked.host,
                command,
                failure.code,
                asker=asked.asker,
                reason=asked.reason,
                rule=failure.message,
            )
            await self._store.audit(entry)
            raise

    async def _known(self, asked: AskedServer) -> DeploymentRecord:
        found = await self._orders.last_with_server(asked.lane, asked.host)
        record = None if found is None else await self._store.load(found)
        if record is None:
            text = (
                f"no deployment of {asked.lane} in the record had a target {asked.host} behind HAProxy, so it is not "
                "known where its server stands: vesemir history shows what was deployed"
            )
            raise FailedError(FailureCode.TARGETS_UNKNOWN_HOST, text)
        return record

    async def _keep(
        self, asked: AskedServer, command: ServerCommand, place: _Place, *, found: PriorTraffic | None = None
    ) -> None:
        order = ServerOrder(
            asked.lane,
            asked.host,
            command,
            place.deployment_id,
            asked.requested_by,
            asked.reason,
            traffic=found,
            backend=place.backend,
            asker=asked.asker,
        )
        await self._orders.keep_order(order)


def _nothing() -> None:
    """No lease is held."""
