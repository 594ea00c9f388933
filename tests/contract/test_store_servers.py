"""The port to the record, on the fake and on PostgreSQL: servers beyond one deployment."""

from dataclasses import replace
from typing import Any

import pytest
from tests.contract.store_suite import Stores, a_deployment, a_target, finish, store, stores
from tests.contract.test_store_progress import LB, PRIOR
from tests.fakes.server_orders import FakeServerOrders
from tests.fakes.store import FakeStore
from tests.integration.postgres_server import postgres_server

from vesemir.domain.identity import Asker
from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction
from vesemir.engine.ports.changes import BackInTraffic, LeftDrained, MoveTarget, RecordTraffic, Start
from vesemir.engine.ports.server_orders import ServerCommand, ServerOrder, ServerOrders
from vesemir.engine.ports.store import Claim, Store

__all__ = ["postgres_server", "store", "stores"]

FORWARD = Direction.FORWARD
LANE = "shop/production"
ANNA = Asker(claimed="anna@host", way="record")
DRAIN = ServerOrder(LANE, "web1", ServerCommand.DRAIN, "d1", "anna@host", "disk is full", PRIOR, "shop", asker=ANNA)


@pytest.fixture
def orders(store: Store) -> ServerOrders:
    if isinstance(store, FakeStore):
        return FakeServerOrders(store)
    return store.server_orders  # type: ignore[attr-defined, no-any-return]


async def begun(store: Store, name: str, backend: Any = "shop", *, haproxy: bool = True, **more: Any) -> Claim:
    request = {"haproxy": {"backend": backend}} if haproxy else {}
    await store.accept(replace(a_deployment(name), request=request | more), None)
    claimed = await store.claim("a/1", lease_seconds=30, max_expiries=5)
    assert claimed is not None
    await store.commit(claimed, [Start((a_target(),), resolve_seconds=0.1, balancers=(LB,))])
    return claimed


async def left(store: Store, name: str, backend: Any = "shop") -> None:
    claimed = await begun(store, name, backend)
    await store.commit(claimed, [RecordTraffic("web1", FORWARD, PRIOR), LeftDrained("web1")])
    await finish(store, claimed)


@pytest.mark.parametrize("backend", ["shop", ["shop", "admin"]])
async def test_the_deployment_that_left_a_server_drained(store: Store, backend: Any) -> None:
    assert await store.earlier_drain(LANE, "web1") is None
    await left(store, "d1", backend)
    found = await store.earlier_drain(LANE, "web1")
    assert found is not None
    assert (found.deployment_id, found.target, found.traffic, found.balancers) == ("d1", "web1", PRIOR, (LB,))
    assert found.backend == (backend if isinstance(backend, str) else "")
    assert await store.earlier_drain("blog/production", "web1") is None
    assert await store.earlier_drain(LANE, "web2") is None


async def test_one_that_was_to_be_healed_stays_with_the_deployment_that_left_it(store: Store) -> None:
    """It knows how the server was when it was well; and an instance of 0.1 that looks at it goes by that."""
    await left(store, "d1")
    claimed = await begun(store, "d2")
    healing = replace(PRIOR, healthy=dict(PRIOR.places), left_by="d1")
    await store.commit(claimed, [RecordTraffic("web1", FORWARD, healing), LeftDrained("web1")])
    found = await store.earlier_drain(LANE, "web1")
    assert found is not None
    assert found.deployment_id == "d1"
    await store.commit(claimed, [BackInTraffic("web1")])
    assert await store.earlier_drain(LANE, "web1") is None
    await store.commit(claimed, [LeftDrained("web1")])  # it was put back, and has failed after that
    found = await store.earlier_drain(LANE, "web1")
    assert found is not None
    assert found.traffic == healing


async def test_the_newest_deployment_that_knows_where_the_server_stands(store: Store, orders: ServerOrders) -> None:
    assert await orders.last_with_server(LANE, "web1") is None
    for name, more in (("d1", {}), ("d2", {}), ("d3", {"dry_run": True}), ("d4", {"haproxy": False})):
        await finish(store, await begun(store, name, **more))
    assert await orders.last_with_server(LANE, "web1") == "d2"
    assert await orders.last_with_server(LANE, "web9") is None
    assert await orders.last_with_server("blog/production", "web1") is None


async def test_a_target_in_work_is_its_deployments(store: Store, orders: ServerOrders) -> None:
    claimed = await begun(store, "d1")
    assert await orders.worked_on_by(LANE, "web1") is None
    await store.commit(claimed, [MoveTarget("web1", FORWARD, TargetState.PENDING, TargetState.RUNNING)])
    assert await orders.worked_on_by(LANE, "web1") == "d1"
    assert await orders.worked_on_by("blog/production", "web1") is None
    done = MoveTarget("web1", FORWARD, TargetState.RUNNING, TargetState.SUCCEEDED, finished=True)
    await store.commit(claimed, [done])
    assert await orders.worked_on_by(LANE, "web1") is None


async def test_an_order_is_kept_and_takes_the_server_over(stores: Stores, store: Store, orders: ServerOrders) -> None:
    del stores
    assert await orders.last_order(LANE, "web1") is None
    await left(store, "d1")
    await orders.keep_order(DRAIN)
    kept = await orders.last_order(LANE, "web1")
    assert kept is not None
    assert kept.ordered_at.endswith("Z")
    assert replace(kept, ordered_at="", asker=ANNA) == DRAIN
    assert await store.earlier_drain(LANE, "web1") is None
    told = [row.entry for row in await store.audit_rows()][-1]  # type: ignore[attr-defined]
    assert (told["command"], told["target"], told["claimed"]) == ("drain", "web1", "anna@host")

    await orders.keep_order(replace(DRAIN, command=ServerCommand.READY, traffic=None, reason=None))
    kept = await orders.last_order(LANE, "web1")
    assert kept is not None
    assert (kept.command, kept.traffic, kept.reason) == (ServerCommand.READY, None, None)
    assert await orders.last_order(LANE, "web2") is None
