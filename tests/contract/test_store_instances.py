"""The port to the record, on the fake and on PostgreSQL: the table of instances."""

from collections.abc import Sequence
from datetime import datetime

from tests.contract.store_suite import Stores, eventually, store, stores
from tests.integration.postgres_server import postgres_server

from vesemir.engine.ports.store import InstanceReport, Store
from vesemir.engine.ports.views import InstanceState, InstanceView

__all__ = ["postgres_server", "store", "stores"]


def report(name: str = "a/1", *, in_work: int = 0, draining: bool = False, stopped: bool = False) -> InstanceReport:
    return InstanceReport(name, "0.2.0", in_work, draining, stopped)


async def states(store: Store, *, silent_seconds: float = 30) -> Sequence[tuple[str, str]]:
    return [(each.name, each.state) for each in await store.instances(silent_seconds=silent_seconds)]


async def test_an_instance_is_there_from_its_first_report_on(store: Store) -> None:
    assert await store.instances() == []
    await store.report_instance(report(in_work=2))
    (row,) = await store.instances()
    assert row == InstanceView("a/1", "0.2.0", InstanceState.WORKING, row.since, 2, row.renewed_at)


async def test_a_report_renews_it_and_keeps_since_when(store: Store) -> None:
    await store.report_instance(report(in_work=2))
    (first,) = await store.instances()
    await store.report_instance(report(in_work=3, draining=True))
    (second,) = await store.instances()
    assert (second.in_work, second.state, second.since) == (3, "draining", first.since)
    assert datetime.fromisoformat(second.renewed_at) > datetime.fromisoformat(first.renewed_at)


async def test_nothing_comes_after_its_last_words(store: Store) -> None:
    """A report that was sent before may arrive after them."""
    await store.report_instance(report())
    await store.report_instance(report(draining=True, stopped=True))
    await store.report_instance(report(in_work=4))
    (row,) = await store.instances()
    assert (row.state, row.in_work) == ("stopped", 0)


async def test_who_is_not_heard_of_is_silent_and_stands_behind_who_runs(stores: Stores) -> None:
    first, second = await stores("a/1"), await stores("b/2")
    for name in ("a/1", "b/2"):
        await first.report_instance(report(name))
    assert await states(second) == [("a/1", "working"), ("b/2", "working")]
    await second.report_instance(report("b/2", stopped=True))
    await second.report_instance(report("c/3"))
    assert await states(first) == [("a/1", "working"), ("c/3", "working"), ("b/2", "stopped")]

    async def all_silent() -> Sequence[tuple[str, str]] | None:
        found = await states(first, silent_seconds=0)
        return found if ("c/3", "silent") in found else None

    assert await eventually(all_silent) == [("c/3", "silent"), ("b/2", "stopped"), ("a/1", "silent")]


async def test_who_is_gone_for_long_is_forgotten(store: Store) -> None:
    await store.report_instance(report())
    await store.forget_instances(older_than_seconds=3600)
    assert await states(store) == [("a/1", "working")]

    async def forgotten() -> bool | None:
        await store.forget_instances(older_than_seconds=0)
        return None if await store.instances() else True

    assert await eventually(forgotten)
