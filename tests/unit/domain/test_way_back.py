"""Which release ``vesemir rollback`` goes back to: a table of everything that a lane may have behind it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.domain.states import DeploymentState
from vesemir.domain.way_back import NoWayBackError, Past, find_way_back, good_releases

ALL = frozenset({"web1", "web2", "web3"})
WEB1 = frozenset({"web1"})
GROUP = {"inventory": {"groups": ["web"]}}
S, F, C, T = DeploymentState.SUCCEEDED, DeploymentState.FAILED, DeploymentState.CANCELLED, DeploymentState.TIMED_OUT
BACK, RUNNING = DeploymentState.ROLLED_BACK, DeploymentState.RUNNING


def past(
    version: str,
    state: DeploymentState = S,
    *,
    left: frozenset[str] | None = None,
    targets: frozenset[str] = ALL,
    number: int = 0,
) -> Past:
    """To all hosts unless said otherwise; a rollback by itself left nothing."""
    selector = GROUP if targets == ALL else {"hosts": sorted(targets)}
    changed = left if left is not None else frozenset() if state is BACK else targets
    return Past(f"d{number}-{version}", version, state, selector, targets, changed)


def history(*each: Past) -> list[Past]:
    return [replace(one, deployment_id=f"d{number}") for number, one in enumerate(each, start=1)]


NONE: frozenset[str] = frozenset()

CASES = {
    "the release before": ([past("1"), past("2")], "d2", "d1"),
    "the newest deployment of that release": ([past("1"), past("1"), past("2")], "d3", "d2"),
    "a release that was deployed again is one release": ([past("1"), past("2"), past("2")], "d3", "d1"),
    "a half-dead one is never gone back to": ([past("1"), past("2", F), past("3")], "d3", "d1"),
    "from a failed one to what stood before": ([past("1"), past("2"), past("3", F)], "d3", "d2"),
    "from a cancelled one": ([past("1"), past("2"), past("3", C, left=WEB1)], "d3", "d2"),
    "from one that ran out of time": ([past("1"), past("2"), past("3", T, left=WEB1)], "d3", "d2"),
    "from one that still runs": ([past("1"), past("2"), past("3", RUNNING, left=WEB1)], "d3", "d2"),
    "from several failed ones in a row": ([past("1"), past("2", F), past("3", F)], "d3", "d1"),
    "on_failure continue that failed on one host": ([past("1"), past("2"), past("3", F, left=ALL)], "d3", "d2"),
    "a failed one that touched nothing is skipped over a failed one": (
        [past("1"), past("2", F, left=WEB1), past("3", F, left=NONE)],
        "d2",
        "d1",
    ),
    "a rolled back one is skipped over a failed one": (
        [past("1"), past("2", F, left=WEB1), past("3", BACK)],
        "d2",
        "d1",
    ),
    "a rollback that failed leaves something": ([past("1"), past("2"), past("3", F, left=WEB1)], "d3", "d2"),
    "the same release failed when it was deployed again": ([past("1"), past("2"), past("2", F)], "d3", "d1"),
    "after a rollback by hand, further back and not forth": (
        [past("1"), past("2"), past("3"), past("2")],
        "d4",
        "d1",
    ),
    "what was gone back from and then succeeded anew is good again": (
        [past("1"), past("2"), past("1"), past("2"), past("3")],
        "d5",
        "d4",
    ),
    "what was gone back from is not good, also when another fails": (
        [past("1"), past("2"), past("1"), past("3", F)],
        "d4",
        "d3",
    ),
    "a release on some hosts only does not cover all": (
        [past("1"), past("2", targets=WEB1), past("3")],
        "d3",
        "d1",
    ),
    "from a release on some hosts to the one on all": ([past("1"), past("2", targets=WEB1)], "d2", "d1"),
    "back on some hosts only does not undo the others": (
        [past("1"), past("2"), past("1", targets=WEB1), past("3")],
        "d4",
        "d2",
    ),
    "back on some hosts, and forth again there": ([past("1"), past("2"), past("1", targets=WEB1)], "d3", "d2"),
    "hosts that came later are covered by the same selector": (
        [replace(past("1"), targets=WEB1, left=WEB1), past("2")],
        "d2",
        "d1",
    ),
    "hosts by name are covered by a group that has them": (
        [past("1"), past("2", targets=frozenset({"web1", "web2"}))],
        "d2",
        "d1",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_way_back(case: str) -> None:
    given_history, standing, good = CASES[case]
    way = find_way_back(history(*given_history))
    assert (way.standing.deployment_id, way.good.deployment_id) == (standing, good)


REFUSED = {
    "nothing was deployed": ([], "no deployment has changed anything yet"),
    "nothing was changed": ([past("1", F, left=NONE), past("2", BACK)], "no deployment has changed anything yet"),
    "the first release": ([past("1")], "no release before 1 is known to have been good"),
    "only failed ones": ([past("1", F), past("2", F)], "no release before 2 is known to have been good"),
    "it was rolled back by itself": (
        [past("1"), past("2"), past("3", BACK)],
        "3 (d3) was rolled back by itself: 2 is what is served; to go back further, say --to 1",
    ),
    "it touched nothing": (
        [past("1"), past("2"), past("3", F, left=NONE)],
        "3 (d3) left nothing behind: 2 is what is served",
    ),
    "it was rolled back, and nothing was before": (
        [past("2"), past("3", BACK)],
        "2 is what is served; no release before that is known as good",
    ),
    "everything before was gone back from": ([past("1"), past("2"), past("1")], "no release before 1 is known"),
    "only other hosts had one": (
        [past("1", targets=WEB1), past("2", targets=frozenset({"web2"}))],
        "no release before 2 is known to have been good where that stands",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_where_there_is_no_way_back_it_says_why(case: str) -> None:
    given_history, reason = REFUSED[case]
    with pytest.raises(NoWayBackError) as refused:
        find_way_back(history(*given_history))
    assert reason in str(refused.value)


def test_a_version_can_be_named() -> None:
    lane = history(past("1"), past("2"), past("3"), past("4", BACK), past("5", targets=WEB1), past("6", F))
    assert find_way_back(lane, version="1").good.deployment_id == "d1"
    assert find_way_back(lane, version="3").good.deployment_id == "d3"
    with pytest.raises(NoWayBackError, match=r"4 never succeeded.*known as good there: 3, 2, 1"):
        find_way_back(lane, version="4")
    with pytest.raises(NoWayBackError, match=r"5 did not succeed on all hosts that it would replace"):
        find_way_back(lane, version="5")


def test_what_was_gone_back_from_can_still_be_named() -> None:
    assert find_way_back(history(past("1"), past("2"), past("1")), version="2").good.deployment_id == "d2"


PASTS = st.builds(
    past,
    st.sampled_from("1234"),
    st.sampled_from([S, S, S, F, C, BACK, RUNNING]),
    left=st.sampled_from([None, NONE, WEB1]),
    targets=st.sampled_from([ALL, ALL, WEB1]),
)


@given(st.lists(PASTS, max_size=10))
def test_a_way_back_leads_to_a_success_of_another_release_before_it_that_covers_it(each: list[Past]) -> None:
    lane = history(*each)
    try:
        way = find_way_back(lane)
    except NoWayBackError:
        return
    assert way.good.good
    assert way.good.version != way.standing.version
    assert way.good.covers(way.standing)
    assert lane.index(way.good) < lane.index(way.standing)
    assert not any(one.left or one.good for one in lane[lane.index(way.standing) + 1 :])


@given(st.lists(st.sampled_from("12345"), min_size=1, max_size=10))
def test_going_back_again_and_again_ends_and_never_goes_forth(versions: list[str]) -> None:
    lane = history(*map(past, versions))
    served = [versions[-1]]
    while True:
        try:
            way = find_way_back(lane)
        except NoWayBackError:
            break
        served.append(way.good.version)
        lane = history(*lane, past(way.good.version))
    assert len(set(served)) == len(served)
    assert served[::-1] == [one.version for one in good_releases(history(*map(past, versions)))]
