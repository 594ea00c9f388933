"""The port to the record, on the fake and on PostgreSQL: what a running deployment commits."""

import asyncio
import itertools
from contextlib import nullcontext
from dataclasses import replace

import pytest
from tests.contract.store_suite import (
    FORWARD,
    QUEUE,
    Stores,
    a_deployment,
    a_step,
    a_target,
    accepted_and_claimed,
    claim,
    event_names,
    eventually,
    finish,
    move,
    started,
    store,
    stores,
)
from tests.fakes.events import emit, emit_result
from tests.integration.postgres_server import postgres_server

from vesemir.domain.failure import Failure, FailureCode, LeaseLostError
from vesemir.domain.states import TARGET_TRANSITIONS, DeploymentState, IllegalTransitionError, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.domain.target import Target
from vesemir.domain.traffic import AdminState
from vesemir.domain.traffic_place import Place
from vesemir.domain.traffic_prior import PriorState, PriorTraffic
from vesemir.engine.ports.changes import (
    AddTargets,
    BackInTraffic,
    Change,
    LeftDrained,
    MoveDeployment,
    MoveTarget,
    RecordInTraffic,
    RecordStep,
    RecordTraffic,
    Regress,
    SkipPending,
    Start,
    Touch,
)
from vesemir.engine.ports.records import DeploymentRecord, StepTotals, TargetRecord
from vesemir.engine.ports.store import Claim, Store

__all__ = ["postgres_server", "store", "stores"]

PENDING, RUNNING, UNKNOWN, FAILED = TargetState.PENDING, TargetState.RUNNING, TargetState.UNKNOWN, TargetState.FAILED
PAUSED, ROLLING_BACK = DeploymentState.PAUSED, DeploymentState.ROLLING_BACK
FAILURE = Failure(FailureCode.STEP_FAILED, "step switch ended with 1; see its output")
PRIOR = PriorTraffic("web1", {Place("lb1"): PriorState(AdminState.READY, 40, 100, agent=False, up=True, process_id=17)})


async def loaded(store: Store) -> DeploymentRecord:
    record = await store.load("d1")
    assert record is not None
    return record


async def the_target(store: Store) -> TargetRecord:
    (target,) = (await loaded(store)).targets
    return target


async def test_start_keeps_the_plan(store: Store) -> None:
    """Targets in the plan's order and the load balancers, all as they were resolved."""
    claimed = await accepted_and_claimed(store)
    plan = (a_target("web2", position=0), a_target("web1", position=1), a_target("web3", position=2))
    box = Target("lb1", "127.0.0.9", 2200, "deploy", {"haproxy_socket": "/run/x"}, "inventory")
    before = (await loaded(store)).clock_seconds

    await store.commit(claimed, [Start(plan, resolve_seconds=0.25, balancers=(box,)), emit("deployment.started")])

    record = await loaded(store)
    assert record.targets == plan
    assert record.balancers == (box,)
    assert (record.started, record.resolve_seconds, before) == (True, 0.25, 0)
    assert record.clock_seconds >= 0
    assert record.total_seconds >= record.clock_seconds


async def test_the_recipe_that_it_began_with_is_kept(store: Store) -> None:
    """Once for all deployments with the same text; one of an older version has none."""
    for name, source in (("d1", "steps = 1"), ("d2", "steps = 1"), ("d3", "")):
        await store.accept(a_deployment(name, application=name), None)
        claimed = await claim(store)
        await store.commit(claimed, [Start((a_target(),), 0.1, recipe_source=source), emit("deployment.started")])
        record = await store.load(name)
        assert record is not None
        assert record.recipe_source == (source or None)


async def test_of_a_recipe_with_two_texts_the_whole_one_is_read(store: Store) -> None:
    """They may differ in what the release before does not know alone: each whole text is kept for itself."""
    for name, full in (("d1", "steps = 1\nnew = 1"), ("d2", "steps = 1\nnew = 2"), ("d3", "")):
        await store.accept(a_deployment(name, application=name), None)
        claimed = await claim(store)
        start = Start((a_target(),), 0.1, recipe_source="steps = 1", recipe_full=full)
        await store.commit(claimed, [start, emit("deployment.started")])
        record = await store.load(name)
        assert record is not None
        assert record.recipe_source == (full or "steps = 1")


async def test_what_was_approved_stays_approved(store: Store) -> None:
    claimed = await started(store)
    assert (await loaded(store)).approved_batch == 0
    for approves in (3, 2):
        await store.commit(claimed, [MoveDeployment(DeploymentState.RUNNING, PAUSED, awaits_approval=True)])
        await store.commit(claimed, [MoveDeployment(PAUSED, DeploymentState.RUNNING, approves=approves)])
        assert (await loaded(store)).approved_batch == 3


async def test_a_pause_is_timed_by_the_record(store: Store) -> None:
    claimed = await started(store)
    assert (await loaded(store)).paused_seconds == 0
    await store.commit(claimed, [MoveDeployment(DeploymentState.RUNNING, PAUSED)])
    first = (await loaded(store)).paused_seconds
    assert (await eventually(lambda: _longer(store, first))) > 0
    await store.commit(claimed, [MoveDeployment(PAUSED, DeploymentState.RUNNING)])
    assert (await loaded(store)).paused_seconds == 0


async def _longer(store: Store, first: float) -> float | None:
    seconds = (await loaded(store)).paused_seconds
    return seconds if seconds > first else None


async def test_it_starts_once(store: Store) -> None:
    claimed = await started(store)

    with pytest.raises(IllegalTransitionError):
        await store.commit(claimed, [Start((a_target("web9"),), resolve_seconds=1)])


async def test_a_target_s_way_is_recorded(store: Store) -> None:
    """Everything that was told of it, and only that."""
    claimed = await started(store)

    await store.commit(
        claimed,
        [
            move("web1", PENDING, RUNNING),
            RecordTraffic("web1", FORWARD, PRIOR),
            Touch("web1", FORWARD),
            RecordStep(a_step()),
            MoveTarget(
                "web1",
                FORWARD,
                RUNNING,
                FAILED,
                finished=True,
                failure=FAILURE,
                duration_seconds=2.5,
                connect_seconds=0.125,
                in_traffic=False,
            ),
        ],
    )

    target = await the_target(store)
    assert (target.state, target.finished, target.touched, target.failure) == (FAILED, True, True, FAILURE)
    assert target.in_traffic is False
    assert target.traffic == PRIOR
    assert (target.duration_seconds, target.connect_seconds) == (2.5, 0.125)


async def test_what_haproxy_says_of_targets_that_were_not_begun_is_recorded(store: Store) -> None:
    """In one commit with their end; nothing else of them changes, and no other target."""
    claimed = await started(store, a_target("web1"), a_target("web2", position=1), a_target("web3", position=2))
    seen = [RecordInTraffic("web1", FORWARD, in_traffic=True), RecordInTraffic("web2", FORWARD, in_traffic=False)]
    await store.commit(claimed, [SkipPending(FORWARD), *seen])

    assert [(each.state, each.in_traffic) for each in (await loaded(store)).targets] == [
        (TargetState.SKIPPED, True), (TargetState.SKIPPED, False), (TargetState.SKIPPED, None)
    ]  # fmt: skip
    with pytest.raises(IllegalTransitionError):
        await store.commit(claimed, [RecordInTraffic("web9", FORWARD, in_traffic=True)])


async def test_events_are_numbered_without_gaps(store: Store) -> None:
    """From 1, over commits with none, one and several."""
    claimed = await started(store)
    await store.commit(claimed, [Touch("web1", FORWARD)])
    await store.commit(claimed, [emit("a", n=1), Touch("web1", FORWARD), emit("b", n=2)])
    await asyncio.gather(*(store.commit(claimed, [emit("c", n=n)]) for n in range(30)))

    events = await store.events_after("d1", 0, limit=1000)

    assert [event.sequence for event in events] == list(range(1, 35))
    assert [event.name for event in events][:4] == ["deployment.accepted", "deployment.started", "a", "b"]
    assert {event.body["n"] for event in events[4:]} == set(range(30))
    assert [event.body["sequence"] for event in events] == list(range(1, 35))
    assert [event.sequence for event in await store.events_after("d1", 2, limit=2)] == [3, 4]


async def test_an_event_s_own_fields_keep_their_order(store: Store) -> None:
    claimed = await started(store)
    body = {"target": "web1", "step": "switch", "status": "succeeded", "exit_status": None, "a": {"z": 1, "b": [1.5]}}

    await store.commit(claimed, [emit("step.finished", **body)])

    (event,) = await store.events_after("d1", 2, limit=10)
    assert list(event.body.items())[-5:] == list(body.items())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(move("web1", RUNNING, FAILED), id="another state is expected"),
        pytest.param(move("web2", PENDING, RUNNING), id="no such target"),
        pytest.param(move("web1", PENDING, FAILED), id="the table has no such way"),
        pytest.param(MoveDeployment(PAUSED, DeploymentState.RUNNING), id="the deployment is not paused"),
        pytest.param(MoveDeployment(DeploymentState.RUNNING, DeploymentState.ROLLED_BACK), id="not by the table"),
        pytest.param(Touch("web2", FORWARD), id="touching nothing"),
        pytest.param(RecordTraffic("web1", Direction.BACK, PRIOR), id="traffic of the other direction"),
    ],
)
async def test_an_illegal_change_raises_and_nothing_of_the_commit_stays(store: Store, bad: Change) -> None:
    claimed = await started(store)
    before = await loaded(store)

    with pytest.raises(IllegalTransitionError):
        await store.commit(claimed, [Touch("web1", FORWARD), RecordStep(a_step()), emit("target.started"), bad])

    after = await loaded(store)
    assert after.targets == before.targets
    assert await event_names(store) == ["deployment.accepted", "deployment.started"]
    assert (await store.step_totals("d1")).steps == 0
    await store.commit(claimed, [emit("target.started")])
    assert (await store.events_after("d1", 2, limit=9))[0].sequence == 3


def final(state: TargetState) -> bool:
    return not TARGET_TRANSITIONS[state]


@pytest.mark.parametrize("old", list(TargetState))
async def test_a_target_moves_only_by_the_domain_s_table(store: Store, old: TargetState) -> None:
    """Every (old, new, finished), each on a target of its own that stands in ``old``: a move that finishes is held to
    the table like any other, and ends a target only as one may end. The table is asked before the record."""
    moves = list(itertools.product(TargetState, (False, True)))
    names = {each: f"web{number}" for number, each in enumerate(moves)}
    claimed = await started(
        store, *(replace(a_target(name), state=old, finished=final(old)) for name in names.values())
    )

    for (new, finished), name in names.items():
        allowed = new in TARGET_TRANSITIONS[old] and (not finished or new is UNKNOWN or final(new))
        with nullcontext() if allowed else pytest.raises(IllegalTransitionError, match="a target cannot"):
            await store.commit(claimed, [move(name, old, new, finished=finished)])
        (target,) = (target for target in (await loaded(store)).targets if target.name == name)
        stands = (new, finished or final(new)) if allowed else (old, final(old))
        assert (target.state, target.finished) == stands, (new, finished)


async def test_a_commit_without_a_claim_is_lost(store: Store) -> None:
    with pytest.raises(LeaseLostError):
        await store.commit(Claim("nobody", "a/1", 1), [emit("target.started")])


async def test_a_finished_target_does_not_move(store: Store) -> None:
    """An unknown one either: verified to the end means the end."""
    claimed = await started(store)
    await store.commit(claimed, [move("web1", PENDING, RUNNING), move("web1", RUNNING, UNKNOWN)])
    assert not (await the_target(store)).finished
    last = MoveTarget("web1", FORWARD, RUNNING, UNKNOWN, finished=True, failure=FAILURE)
    await store.commit(claimed, [move("web1", UNKNOWN, RUNNING), last])
    assert (await the_target(store)).finished

    with pytest.raises(IllegalTransitionError):
        await store.commit(claimed, [move("web1", UNKNOWN, RUNNING)])


async def test_only_one_that_succeeded_regresses(store: Store) -> None:
    """It keeps its times and stays finished; a second time there is nothing to move any more."""
    states = {f"web{number}": state for number, state in enumerate(TargetState)}
    rows = [replace(a_target(name), state=state, finished=final(state)) for name, state in states.items()]
    claimed = await started(store, *rows)

    for name, state in states.items():
        with nullcontext() if state is TargetState.SUCCEEDED else pytest.raises(IllegalTransitionError):
            await store.commit(claimed, [Regress(name, FAILURE), emit("target.regressed")])

    succeeded = next(name for name, state in states.items() if state is TargetState.SUCCEEDED)
    after = {target.name: target for target in (await loaded(store)).targets}
    (before,) = (row for row in rows if row.name == succeeded)
    assert after.pop(succeeded) == replace(before, state=FAILED, failure=FAILURE)
    assert {name: target.state for name, target in after.items()} == {
        name: state for name, state in states.items() if name != succeeded
    }
    with pytest.raises(IllegalTransitionError):
        await store.commit(claimed, [Regress(succeeded, FAILURE)])


async def test_a_target_ends_and_regresses_in_one_commit(store: Store) -> None:
    """Changes of one target stay in their order, however they are grouped; another target is not touched by it."""
    claimed = await started(store, a_target("web1"), a_target("web2", position=1))
    ends = [move(name, RUNNING, TargetState.SUCCEEDED, finished=True) for name in ("web1", "web2")]
    begins = [move(name, PENDING, RUNNING) for name in ("web1", "web2")]

    await store.commit(claimed, [*begins, *ends, Regress("web1", FAILURE)])

    first, second = (await loaded(store)).targets
    assert (first.state, first.finished, first.failure) == (FAILED, True, FAILURE)
    assert (second.state, second.failure) == (TargetState.SUCCEEDED, None)


async def test_pending_ones_are_skipped(store: Store) -> None:
    """Those of that direction, and no other."""
    claimed = await started(store, *(a_target(f"web{n}", position=n) for n in range(3)))
    back = a_target("web0", direction=Direction.BACK)
    await store.commit(claimed, [move("web0", PENDING, RUNNING), AddTargets((back,)), SkipPending(FORWARD)])

    targets = (await loaded(store)).targets
    assert [(t.direction, t.name, t.state, t.finished) for t in targets] == [
        (FORWARD, "web0", RUNNING, False),
        (FORWARD, "web1", TargetState.SKIPPED, True),
        (FORWARD, "web2", TargetState.SKIPPED, True),
        (Direction.BACK, "web0", PENDING, False),
    ]


async def test_a_result_ends_the_claim(stores: Stores) -> None:
    """The deployment is nobody's, its failure and metrics are kept, and nothing is written any more."""
    store, other = await stores("a/1"), await stores("b/2")
    claimed = await started(store)

    await store.commit(
        claimed,
        [
            MoveDeployment(DeploymentState.RUNNING, DeploymentState.FAILED, FAILURE),
            emit_result(DeploymentState.FAILED, targets_total=1),
        ],
    )

    record = await loaded(other)
    assert (record.state, record.owner, record.failure) == (DeploymentState.FAILED, None, FAILURE)
    assert await store.renew("a/1", {"d1": claimed.epoch}, lease_seconds=30) == {}
    with pytest.raises(LeaseLostError):
        await store.commit(claimed, [emit("target.started")])
    assert await other.claim("b/2", lease_seconds=30, max_expiries=5) is None


async def test_a_pause_stops_the_clock(store: Store) -> None:
    """And the time of a rollback begins anew."""
    claimed = await started(store)
    await store.commit(claimed, [MoveDeployment(DeploymentState.RUNNING, PAUSED)])
    at_pause = await loaded(store)
    await asyncio.sleep(0.05)  # the pause whose length is measured
    assert (await loaded(store)).clock_seconds == pytest.approx(at_pause.clock_seconds, abs=1e-6)
    await store.commit(claimed, [MoveDeployment(PAUSED, DeploymentState.RUNNING)])

    running = await loaded(store)
    assert running.total_seconds - running.clock_seconds >= 0.05
    await store.commit(claimed, [MoveDeployment(DeploymentState.RUNNING, ROLLING_BACK, FAILURE, resets_clock=True)])
    back = await loaded(store)
    assert back.clock_seconds < back.total_seconds - 0.05
    assert (back.state, back.failure) == (ROLLING_BACK, FAILURE)


async def test_a_paused_one_may_be_rolled_back_or_ended(store: Store) -> None:
    """The pause ends with it; a later failure replaces an earlier one, no failure does not."""
    claimed = await started(store)
    await store.commit(claimed, [MoveDeployment(DeploymentState.RUNNING, PAUSED)])
    await store.commit(claimed, [MoveDeployment(PAUSED, ROLLING_BACK, FAILURE, resets_clock=True)])
    await store.commit(claimed, [MoveDeployment(ROLLING_BACK, DeploymentState.ROLLED_BACK)])

    record = await loaded(store)
    assert (record.state, record.failure) == (DeploymentState.ROLLED_BACK, FAILURE)


async def test_what_has_succeeded_is_known_by_target(store: Store) -> None:
    claimed = await started(store, a_target("web1"), a_target("web2", position=1))
    assert await store.succeeded_steps("d1") == {}
    back = replace(a_step(step="undone"), direction=Direction.BACK)
    failed_step = replace(a_step("web2", step="unpack"), status=StepStatus.FAILED)
    done = [a_step(step="fetch"), a_step(step="fetch"), a_step(step="unpack"), a_step("web2", step="fetch")]
    await store.commit(claimed, [AddTargets((a_target("web1", direction=Direction.BACK),))])
    await store.commit(claimed, [RecordStep(step) for step in (*done, failed_step, back)])

    assert await store.succeeded_steps("d1") == {"web1": {"fetch", "unpack"}, "web2": {"fetch"}}


async def test_steps_are_kept_in_order(store: Store) -> None:
    """Per target and direction, counted for the metrics, without the output but for the verdict on a canary."""
    claimed = await started(store, a_target("web1"), a_target("web2", position=1))
    await store.commit(claimed, [RecordStep(a_step(step=name)) for name in ("unpack", "switch", "check", "analysis")])
    await store.commit(claimed, [RecordStep(a_step("web2", redone=True))])

    steps = await store.finished_steps("d1", "web1", FORWARD)

    assert [step.step for step in steps] == ["unpack", "switch", "check", "analysis"]
    assert (steps[0].output, steps[0].output_bytes, steps[0].exit_status) == ("", 5, 0)
    assert steps[-1].output == "done\n", "an instance that goes on must know it"
    assert await store.finished_steps("d1", "web1", Direction.BACK) == []
    assert await store.step_totals("d1") == StepTotals(steps=5, redone=1, output_bytes=25)


async def test_a_deployment_without_steps(store: Store) -> None:
    await store.accept(a_deployment(), None)

    assert await store.step_totals("d1") == StepTotals(0, 0, 0)


async def test_hints_come_for_work_wishes_and_events(stores: Stores, request: pytest.FixtureRequest) -> None:
    """To every instance that listens, also for its own writes."""
    if request.node.callspec.params["stores"] == "transaction":
        pytest.skip("there is no LISTEN through a pooler in transaction mode: tests/integration/test_poolers.py")
    store, other = await stores("a/1"), await stores("b/2")
    async with other.hints() as heard, asyncio.timeout(10):

        async def until(payload: str) -> None:
            async for hint in heard:
                if hint == payload:
                    return

        await store.accept(a_deployment(), QUEUE)
        await until("outbox")
        await until("work")
        claimed = await other.claim("b/2", lease_seconds=30, max_expiries=5)
        assert claimed is not None
        await other.hand_back(claimed)
        await until("work")
        claimed = await other.claim("b/2", lease_seconds=30, max_expiries=5)
        assert claimed is not None
        await finish(other, claimed)
        await asyncio.gather(until("work"))


# --- servers left drained --------------------------------------------------------------------------------------------

LB = Target("lb1", "127.0.0.9", 2200, "deploy", {}, "inventory")


async def with_traffic(store: Store, name: str, *, backend: str | list[str] = "shop") -> Claim:
    """A deployment of the lane, started, that has seen how web1 stands in HAProxy."""
    request = {"schema": "vesemir.deploy/1", "deployment_id": name, "haproxy": {"backend": backend}}
    await store.accept(replace(a_deployment(name), request=request), None)
    claimed = await store.claim("a/1", lease_seconds=30, max_expiries=5)
    assert claimed is not None
    await store.commit(
        claimed,
        [Start((a_target(),), resolve_seconds=0.1, balancers=(LB,)), RecordTraffic("web1", FORWARD, PRIOR)],
    )
    return claimed


async def left_by(store: Store) -> list[str]:
    return [server.deployment_id for server in await store.left_drained()]


async def test_a_server_is_left_drained_until_a_deployment_finds_it_in_traffic(store: Store) -> None:
    """Whoever looks at it gets what that takes; the newest result that left it so is the one that counts."""
    first = await with_traffic(store, "d1")
    await store.commit(first, [LeftDrained("web1")])
    await finish(store, first)

    (server,) = await store.left_drained()
    assert (server.target, server.backend, server.traffic, server.balancers) == ("web1", "shop", PRIOR, (LB,))

    second = await with_traffic(store, "d2")
    assert await left_by(store) == ["d1"]
    await store.commit(second, [BackInTraffic("web1")])
    assert await left_by(store) == []
    await store.commit(second, [LeftDrained("web1")])
    assert await left_by(store) == ["d2"]


async def test_seen_in_traffic_it_is_left_drained_no_more(store: Store) -> None:
    """Unless a deployment has left it so since it was looked at."""
    first = await with_traffic(store, "d1")
    await store.commit(first, [LeftDrained("web1")])
    await finish(store, first)
    (old,) = await store.left_drained()
    second = await with_traffic(store, "d2")
    await store.commit(second, [LeftDrained("web1")])

    await store.seen_in_traffic(old)
    assert await left_by(store) == ["d2"]

    (new,) = await store.left_drained()
    await store.seen_in_traffic(new)
    assert await left_by(store) == []


async def test_seen_still_drained_it_stays_left_drained(store: Store) -> None:
    """And a look at what a later deployment has left so since changes nothing."""
    first = await with_traffic(store, "d1")
    await store.commit(first, [LeftDrained("web1")])
    await finish(store, first)
    (server,) = await store.left_drained()
    await store.seen_drained(server)
    assert await left_by(store) == ["d1"]
    await store.seen_in_traffic(server)
    await store.seen_drained(server)
    assert await left_by(store) == []


@pytest.mark.parametrize("backend", [["shop"], ["shop", "admin"], "*"])
async def test_of_several_backends_a_server_is_left_drained_like_any_other(
    store: Store, backend: str | list[str]
) -> None:
    """Each place names its backend, so that the deployment has none. It is one row, whichever deployment was last."""
    first = await with_traffic(store, "d1", backend=backend)
    await store.commit(first, [LeftDrained("web1")])
    await finish(store, first)
    (server,) = await store.left_drained()
    assert (server.target, server.backend, server.traffic) == ("web1", "", PRIOR)

    second = await with_traffic(store, "d2")
    await store.commit(second, [LeftDrained("web1")])
    await finish(store, second)
    assert [(each.deployment_id, each.backend) for each in await store.left_drained()] == [("d2", "shop")]

    third = await with_traffic(store, "d3", backend=backend)
    await store.commit(third, [LeftDrained("web1")])
    (server,) = await store.left_drained()
    assert (server.deployment_id, server.backend) == ("d3", "")
    await store.commit(third, [BackInTraffic("web1")])
    assert await left_by(store) == []


async def test_what_every_backend_means_is_kept_for_the_next_owner(store: Store) -> None:
    await store.accept(a_deployment(), None)
    claimed = await store.claim("a/1", lease_seconds=30, max_expiries=5)
    assert claimed is not None
    found = {"lb1": {"web1": ("admin", "shop")}, "lb2": {}}
    await store.commit(claimed, [Start((a_target(),), resolve_seconds=0.1, backends=found)])
    record = await store.load("d1")
    assert record is not None
    assert record.backends == found


async def test_another_lane_s_target_of_the_same_name_is_another_one(store: Store) -> None:
    first = await with_traffic(store, "d1")
    await store.commit(first, [LeftDrained("web1")])
    other = replace(a_deployment("d2", application="blog"), request={"haproxy": {"backend": "blog"}})
    await store.accept(other, None)
    claimed = await store.claim("a/1", lease_seconds=30, max_expiries=5)
    assert claimed is not None
    await store.commit(claimed, [Start((a_target(),), resolve_seconds=0.1), BackInTraffic("web1")])
    assert await left_by(store) == ["d1"]
