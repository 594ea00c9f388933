"""Which changes of a commit share a statement."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.events import emit, emit_result

from vesemir.adapters.postgres.batching import in_batches
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.engine.ports.changes import BackInTraffic, Change, LeftDrained, MoveDeployment, MoveTarget, Touch

FORWARD = Direction.FORWARD
PENDING, RUNNING, SUCCEEDED = TargetState.PENDING, TargetState.RUNNING, TargetState.SUCCEEDED
PAUSE = MoveDeployment(DeploymentState.RUNNING, DeploymentState.PAUSED)


def begins(name: str) -> MoveTarget:
    return MoveTarget(name, FORWARD, PENDING, RUNNING)


def ends(name: str) -> MoveTarget:
    return MoveTarget(name, FORWARD, RUNNING, SUCCEEDED, finished=True)


def test_targets_share_a_statement() -> None:
    changes = [begins("a"), emit("target.started"), begins("b"), Touch("a", FORWARD), ends("a"), Touch("b", FORWARD)]
    assert list(map(list, in_batches(changes))) == [
        [begins("a"), begins("b")],
        [Touch("a", FORWARD), Touch("b", FORWARD)],
        [ends("a")],
    ]


def test_the_whole_deployment_is_a_barrier() -> None:
    assert list(map(list, in_batches([begins("a"), PAUSE, begins("b")]))) == [[begins("a")], [PAUSE], [begins("b")]]


def test_only_the_result_is_more_than_an_event() -> None:
    result = emit_result()
    assert list(map(list, in_batches([emit("step.finished"), result]))) == [[result]]


def test_left_and_back_keep_their_order() -> None:
    """Whatever other targets do before."""
    changes: Sequence[Change] = [BackInTraffic("c"), BackInTraffic("c"), LeftDrained("a"), BackInTraffic("a")]
    flat = [change for batch in in_batches(changes) for change in batch]
    assert flat.index(LeftDrained("a")) < flat.index(BackInTraffic("a"))


NAMES = st.sampled_from("abc")
CHANGES = st.one_of(
    NAMES.map(begins), NAMES.map(ends), NAMES.map(LeftDrained), NAMES.map(BackInTraffic), st.just(PAUSE)
)


@given(st.lists(CHANGES, max_size=30))
def test_nothing_is_lost_and_no_target_sees_another_order(changes: list[Change]) -> None:
    batches = [list(batch) for batch in in_batches(changes)]
    assert all(len({type(change) for change in batch}) == 1 for batch in batches)
    flat = [change for batch in batches for change in batch]
    assert sorted(map(repr, flat)) == sorted(map(repr, changes))

    def of(name: str, kinds: type | tuple[type, ...], where: list[Change]) -> list[Change]:
        return [change for change in where if isinstance(change, kinds) and getattr(change, "name", name) == name]

    for name in "abc":
        for kinds in ((MoveTarget, MoveDeployment), (LeftDrained, BackInTraffic, MoveDeployment)):
            assert of(name, kinds, flat) == of(name, kinds, changes)
    for batch in batches:
        if isinstance(batch[0], MoveTarget):
            names = [change.name for change in batch if isinstance(change, MoveTarget)]
            assert len(set(names)) == len(names)
