"""When an instance takes work, since when a part is as it is, and the gates that follow a part."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from vesemir.engine.upkeep.health import HealthRegistry, PartState

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def ticking() -> Iterator[datetime]:
    now = BEGIN
    while True:
        yield now
        now += timedelta(seconds=1)


@pytest.fixture
def health() -> HealthRegistry:
    times = ticking()
    return HealthRegistry(clock=lambda: next(times))


def test_nothing_known_takes_no_work(health: HealthRegistry) -> None:
    assert not health.takes_work


def test_work_is_taken_when_every_required_part_is_up(health: HealthRegistry) -> None:
    health.expect("database")
    health.expect("chef", required=False)
    health.report("broker", PartState.UP)
    assert not health.takes_work
    health.report("database", PartState.UP)
    assert health.takes_work
    health.report("chef", PartState.DOWN)
    assert health.takes_work
    health.report("broker", PartState.STOPPING)
    assert not health.takes_work


def test_draining_is_for_good(health: HealthRegistry) -> None:
    health.report("database", PartState.UP)
    health.drain()
    since = health.as_json()["draining_since"]
    health.drain()
    assert not health.takes_work
    assert health.as_json()["draining_since"] == since


def test_since_is_when_the_state_changed_not_the_detail(health: HealthRegistry) -> None:
    health.report("broker", PartState.DOWN, "refused")
    first = health.parts[0]
    health.report("broker", PartState.DOWN, "timed out")
    second = health.parts[0]
    assert (second.since, second.detail) == (first.since, "timed out")
    health.report("broker", PartState.UP)
    assert health.parts[0].since > first.since


def test_expecting_what_is_known_changes_nothing(health: HealthRegistry) -> None:
    health.report("broker", PartState.UP)
    health.expect("broker")
    assert health.parts[0].state is PartState.UP


async def test_a_gate_follows_its_part(health: HealthRegistry) -> None:
    gate = health.gate("database")
    assert gate is health.gate("database")
    assert not gate.is_open
    opening = asyncio.create_task(gate.wait_open())
    health.report("broker", PartState.UP)
    await asyncio.sleep(0)
    assert not opening.done()
    health.report("database", PartState.UP)
    await asyncio.wait_for(opening, 5)
    closing = asyncio.create_task(gate.wait_closed())
    await asyncio.sleep(0)
    assert not closing.done()
    health.report("database", PartState.DOWN)
    await asyncio.wait_for(closing, 5)
    assert not gate.is_open


def test_a_gate_asked_for_late_knows_its_part(health: HealthRegistry) -> None:
    health.report("database", PartState.UP)
    assert health.gate("database").is_open
