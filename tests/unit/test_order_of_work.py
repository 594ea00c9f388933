"""The order of work on virtual time: nothing begins outside its window, nothing waits for ever, and nobody is starved.

On the in-memory record, which passes the same contract as PostgreSQL (``tests/contract/test_store_order.py``).
"""

import asyncio
import os
import random
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.contract.store_suite import a_deployment
from tests.fakes.events import emit_result
from tests.fakes.order import next_work
from tests.fakes.record import Record, Row
from tests.fakes.store import FakeStore

from vesemir.domain.control import ControlledLane
from vesemir.domain.freeze import FreezeEnd
from vesemir.domain.identity import UNPROVED
from vesemir.domain.policy import Freeze, Policy
from vesemir.domain.request import DeployRequest
from vesemir.domain.selector import HostSelector
from vesemir.domain.states import DeploymentState
from vesemir.domain.turns import TurnKey
from vesemir.engine.ports.changes import MoveDeployment, Start
from vesemir.engine.ports.store import Claim, LaneCommand

T = TypeVar("T")


class StillRecord(Record):
    """Time passes only when a test says so."""

    __slots__ = ()

    def now(self) -> float:
        return 1e9 + self.skipped_seconds


LANES = ("ads", "shop", "zoo")
RUNNING = 2
"""What one instance has room for."""


class Ice:
    """A window that holds while somebody wants it to."""

    def __init__(self) -> None:
        self.frozen = False

    def end_after(self, now: float) -> FreezeEnd | None:
        return FreezeEnd(now + 1e9, "later") if self.frozen else None


class OrderOfWork(RuleBasedStateMachine):
    """Requests, locks, freezes and time come as they like; one instance claims, begins and finishes."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.record = StillRecord()
        self.store = FakeStore(self.record, instance="a/1")
        self.ice = Ice()
        self.policy = Policy(freezes=(Freeze("ice", (self.ice,)),))
        self.running: list[Claim] = []
        self.names = 0

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule(
        lane=st.sampled_from(LANES),
        requester=st.sampled_from(("", "amqp:a", "amqp:b")),
        first=st.none() | st.integers(1, 100),
        last=st.none() | st.integers(1, 100),
        urgent=st.booleans(),
    )
    def ask(self, *, lane: str, requester: str, first: int | None, last: int | None, urgent: bool) -> None:
        """As intake does: a frozen lane takes only what is due later, or breaks the glass."""
        self.names += 1
        now = self.record.now()
        new = replace(
            a_deployment(f"d{self.names}", application=lane),
            not_before=None if first is None else now + first,
            not_after=None if last is None else now + (first or 0) + last,
            break_glass="fire" if urgent else None,
            turn=TurnKey(requester),
        )
        if urgent or (first is not None) or not self.ice.frozen:
            self.wait(self.store.accept(new, None))

    @rule(seconds=st.integers(1, 60))
    def pass_time(self, *, seconds: int) -> None:
        self.record.skip(seconds)

    @rule(lane=st.sampled_from(LANES), seconds=st.none() | st.integers(1, 60))
    def lock(self, *, lane: str, seconds: int | None) -> None:
        until = None if seconds is None else self.record.now() + seconds
        self.wait(self.store.control_lane(LaneCommand("lock", ControlledLane(lane, "production"), None, "why", until)))

    @rule(lane=st.sampled_from(LANES))
    def unlock(self, *, lane: str) -> None:
        self.wait(self.store.control_lane(LaneCommand("unlock", ControlledLane(lane, "production"), None, "why")))

    @rule(frozen=st.booleans())
    def freeze(self, *, frozen: bool) -> None:
        self.ice.frozen = frozen

    @rule()
    def look(self) -> None:
        self.wait(self.store.keep_appointments())

    @rule()
    def work(self) -> None:
        """Claim, judge as ``prepare`` does, and begin."""
        if len(self.running) >= RUNNING:
            return
        claimed = self.wait(self.store.claim("a/1", lease_seconds=1e6, max_expiries=5))
        if claimed is None:
            return
        row = self.record.rows[claimed.deployment_id]
        self.check_window(row)
        now = max(self.record.now(), row.new.not_before or 0)
        if self.policy.judge(_request(row), UNPROVED, now):
            self.end(claimed, DeploymentState.FAILED)
        else:
            assert not self.ice.frozen or row.new.break_glass
            self.wait(self.store.commit(claimed, [Start((), resolve_seconds=0.1)]))
            self.running.append(claimed)

    def check_window(self, row: Row) -> None:
        now, new = self.record.now(), row.new
        assert (new.not_before or 0) <= now
        assert (new.not_after or now + 1) > now
        assert new.break_glass or self.record.lock_of(row.lane) is None
        others = [self.record.rows[claim.deployment_id] for claim in self.running]
        assert row.lane not in {other.lane for other in others}

    @rule()
    def finish(self) -> None:
        if self.running:
            self.end(self.running.pop(0), DeploymentState.SUCCEEDED)

    def end(self, claimed: Claim, how: DeploymentState) -> None:
        changes = [MoveDeployment(DeploymentState.RUNNING, how), emit_result(targets_total=0)]
        self.wait(self.store.commit(claimed, changes))

    @invariant()
    def nothing_began_late(self) -> None:
        for row in self.record.rows.values():
            if row.started_at is not None:
                assert (row.new.not_before or 0) <= row.started_at < (row.new.not_after or row.started_at + 1)

    def teardown(self) -> None:
        """When nobody locks or freezes any more, everything ends."""
        for lane in LANES:
            self.unlock(lane=lane)
        self.ice.frozen = False
        self.record.skip(1000)
        self.look()
        for _ in range(2 * len(self.record.rows) + 1):
            self.work()
            self.finish()
        try:
            assert all(row.final for row in self.record.rows.values())
        finally:
            self.runner.close()


def _request(row: Row) -> DeployRequest:
    new = row.new
    return DeployRequest(
        new.deployment_id,
        new.application,
        new.environment,
        new.version,
        new.recipe,
        HostSelector(("web1",)),
        not_before=new.not_before,
        break_glass=new.break_glass,
    )


OrderOfWork.TestCase.settings = settings(max_examples=12, stateful_step_count=30, deadline=None)
TestOrderOfWork = OrderOfWork.TestCase


EVENTS, IDENTITIES, SLOTS = int(os.environ.get("VESEMIR_TEST_EVENTS", "2000")), 20, 4
"""Each deployment takes one tick, and so many run at once: somewhat more than there is to do. 10,000 events in
`tox -e fairness`."""
TICKS = EVENTS * 27 // 100


def test_no_small_requester_is_starved_by_a_big_one() -> None:
    """Half of all events are of one requester, in bursts of 300. Who has one deployment waits for one round of all
    those who wait, whatever the big one has waiting: with first come, first served it was as long as the burst took."""
    chance = random.Random(16)  # noqa: S311 - a test's own
    record, waits, longest_queue = StillRecord(), dict.fromkeys(range(IDENTITIES), 0), 0
    due = [(chance.randrange(TICKS), chance.randrange(1, IDENTITIES)) for _ in range(EVENTS // 2)]
    due += [(TICKS * burst // (EVENTS // 2 // 300 + 1), 0) for burst in range(EVENTS // 2 // 300) for _ in range(300)]
    due += [(0, 0)] * (EVENTS - len(due))
    due.sort()
    asked, tick, epoch = 0, 0, 0
    while asked < EVENTS or record.rows:
        while asked < EVENTS and due[asked][0] <= tick:
            identity = due[asked][1]
            new = a_deployment(f"d{asked}", application=f"app{identity}-{chance.randrange(400)}")
            new = replace(new, turn=TurnKey(f"amqp:{identity}"))
            record.rows[new.deployment_id] = Row(new, accepted_at=tick, arrival=asked)
            asked += 1
        longest_queue = max(longest_queue, len(record.rows))
        begun = []
        while len(begun) < SLOTS and (work := next_work(record, {}, record.now())) is not None:
            epoch, row = epoch + 1, work.row
            row.state, row.owner, row.lease_expires_at = DeploymentState.RUNNING, "a/1", record.now() + 1e6
            assert work.turn is not None
            record.turns[work.turn] = epoch, row.lane
            identity = int(row.new.turn.requester.partition(":")[2])
            waits[identity] = max(waits[identity], tick - int(row.accepted_at))
            begun.append(row)
        for row in begun:
            del record.rows[row.new.deployment_id]
        tick += 1

    small = max(waits[identity] for identity in range(1, IDENTITIES))
    assert longest_queue >= 300
    assert small <= IDENTITIES // SLOTS, f"{small} ticks; the big one waited {waits[0]}"
