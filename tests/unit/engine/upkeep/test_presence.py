"""An instance writes its row at its start, every 5 s, when it begins to drain and when it stops: and no more often."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.fakes.record import Record
from tests.fakes.store import FakeStore
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import Lines

from vesemir.engine.ports.store import InstanceReport
from vesemir.engine.upkeep.presence import Presence


class Site:
    """One instance, ``a/1``, and its record."""

    def __init__(self) -> None:
        self.record, self.log, self.in_work = Record(), Lines(), 0
        self.store = FakeStore(self.record, instance="a/1")
        self.presence = Presence(self.store, name="a/1", version="0.2.0", in_work=lambda: self.in_work, log=self.log)

    @property
    def row(self) -> InstanceReport:
        return self.record.instances["a/1"].report

    async def states(self) -> list[str]:
        return [row.state for row in await self.store.instances()]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    task = asyncio.create_task(site.presence.keep())
    yield site
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_is_there_at_once_and_one_statement_each_5_s_is_all(site: Site) -> None:
    await until(lambda: site.record.reports == 1)
    for number in range(1000):
        site.in_work = number % 7  # what changes meanwhile costs nothing
        await asyncio.sleep(0.1)
    assert site.record.reports == 1 + 100 // 5
    await asyncio.sleep(5)
    assert site.row == InstanceReport("a/1", "0.2.0", in_work=site.in_work, draining=False)


async def test_draining_is_told_at_once_and_the_end_too(site: Site) -> None:
    await until(lambda: site.record.reports == 1)
    site.presence.drain()
    await until(lambda: site.row.draining)
    assert await site.states() == ["draining"]
    await asyncio.sleep(12)
    assert site.record.reports == 4, "draining costs no more than working"
    await site.presence.leave()
    assert await site.states() == ["stopped"]
    await asyncio.sleep(12)
    assert await site.states() == ["stopped"]


async def test_a_database_that_is_away_holds_up_nothing(site: Site) -> None:
    await until(lambda: site.record.reports == 1)
    site.record.away = True
    await asyncio.sleep(20)
    await site.presence.leave()
    site.record.away = False
    await asyncio.sleep(6)
    assert await site.states() == ["working"]
    assert site.log.of("exception") == []


async def test_a_bug_is_logged_and_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(report: InstanceReport) -> None:
        raise ZeroDivisionError(report)

    await until(lambda: site.record.reports == 1)
    with monkeypatch.context() as patched:
        patched.setattr(site.store, "report_instance", broken)
        await asyncio.sleep(6)
        await site.presence.leave()
    assert len(site.log.of("exception")) == 2
    await asyncio.sleep(6)
    assert await site.states() == ["working"]


async def test_a_start_forgets_who_is_gone_for_a_week() -> None:
    site = Site()
    for name in ("b/2", "c/3"):
        await site.store.report_instance(InstanceReport(name, "0.2.0", 0, draining=False))
    site.record.instances["b/2"].renewed_at -= 8 * 24 * 3600
    task = asyncio.create_task(site.presence.keep())
    await until(lambda: set(site.record.instances) == {"a/1", "c/3"})
    task.cancel()
