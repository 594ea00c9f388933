"""The rules over a server's state: what counts as up, as fresh, as available, and which weights can be had."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.share import Share
from vesemir.domain.traffic import (
    AdminState,
    ServerState,
    check_weights,
    weight_at,
)
from vesemir.domain.traffic_capacity import available_besides, needed_besides
from vesemir.domain.traffic_place import Place
from vesemir.domain.traffic_prior import PriorState, PriorTraffic

UP = ServerState("web1", AdminState.READY, "UP", 100, 100, 100, check_health=4, rise=2, fall=3)


@pytest.mark.parametrize(
    ("status", "up"),
    [
        ("UP", True),
        ("UP 1/3", True),
        ("no check", True),
        ("UP (agent)", False),
        ("UPPER", False),
        ("UP x/3", False),
        ("UP 1", False),
        ("NOLB", False),
        ("NOLB 1/3", False),
        ("DRAIN", False),
        ("DRAIN 1/3", False),
        ("DRAIN (agent)", False),
        ("DOWN", False),
        ("DOWN 1/2", False),
        ("DOWN (agent)", False),
        ("MAINT", False),
        ("MAINT (via shop/web2)", False),
        ("MAINT (resolution)", False),
        ("", False),
    ],
)
def test_up_is_compared_exactly(status: str, *, up: bool) -> None:
    assert replace(UP, status=status).is_up is up


@pytest.mark.parametrize(
    ("bits", "state"),
    [
        (0x00, AdminState.READY),
        (0x01, AdminState.MAINT),
        (0x05, AdminState.MAINT),
        (0x02, AdminState.MAINT),
        (0x04, AdminState.READY),
        (0x20, AdminState.MAINT),
        (0x40, AdminState.READY),
        (0x0C, AdminState.DRAIN),
        (0x08, AdminState.DRAIN),
        (0x10, AdminState.DRAIN),
        (0x18, AdminState.DRAIN),
        (0x09, AdminState.MAINT),
        (0x80, AdminState.READY),
    ],
)
def test_the_administrative_state_is_read_from_its_bits(bits: int, state: AdminState) -> None:
    assert AdminState.from_bits(bits) is state


@pytest.mark.parametrize(
    ("status", "health", "fresh"),
    [("DRAIN", 4, True), ("DRAIN 1/3", 2, False), ("DRAIN", 3, False), ("DOWN", 0, False), ("UP", 4, False)],
)
def test_a_fresh_pass_is_exactly_drain_with_full_health(status: str, health: int, *, fresh: bool) -> None:
    """Leaving maint gives health ``rise`` before any check."""
    assert replace(UP, status=status, check_health=health).is_fresh_pass is fresh


def test_without_checks_nothing_is_fresh() -> None:
    assert not replace(UP, status="DRAIN", check_health=None, rise=None, fall=None).is_fresh_pass


@given(configured=st.integers(0, 256), percent=st.integers(0, 300))
def test_a_weight_is_what_haproxy_computes(configured: int, percent: int) -> None:
    """In integers, never above 256; 100 % is always the configured weight."""
    assert weight_at(configured, 100) == configured
    assert 0 <= weight_at(configured, percent) <= 256
    if percent <= 100:
        assert weight_at(configured, percent) <= configured


@given(configured=st.integers(0, 256), percent=st.integers(1, 99))
def test_a_weight_is_refused_exactly_when_it_would_be_nothing(configured: int, percent: int) -> None:
    server = replace(UP, configured_weight=configured)
    if configured * percent >= 100:
        check_weights(server, [percent])
        return
    with pytest.raises(FailedError) as caught:
        check_weights(server, [percent])
    assert caught.value.failure.code is FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO


@pytest.mark.parametrize("algorithm", ["static-rr", "first"])
def test_algorithms_without_weights_are_refused_only_with_weights(algorithm: str) -> None:
    server = replace(UP, algorithm=algorithm)
    check_weights(server, [])
    with pytest.raises(FailedError, match=algorithm):
        check_weights(server, [50])


def test_available_is_up_on_every_load_balancer() -> None:
    first = {"web1": UP, "web2": UP, "web3": UP, "web4": replace(UP, weight=0), "web5": UP}
    second = {**first, "web3": replace(UP, status="DOWN")}
    del second["web5"]
    assert available_besides([first], ["web1"]) == 3
    assert available_besides([first, second], ["web1"]) == 1


@pytest.mark.parametrize(("share", "needed"), [(Share(2), 2), (Share(50, percent=True), 3), (Share(0), 0)])
def test_what_must_stay_is_of_all_servers_and_rounded_up(share: Share, needed: int) -> None:
    assert needed_besides([dict.fromkeys(["a", "b", "c"], UP), dict.fromkeys(["c", "d", "e"], UP)], share) == needed


def test_the_prior_state_survives_its_record() -> None:
    boxes = {
        Place("lb1"): PriorState.of(replace(UP, status="DOWN 1/2", user_weight=40, agent_enabled=True), 17),
        Place("lb2"): PriorState.of(replace(UP, admin=AdminState.DRAIN, status="DRAIN"), 18),
    }
    prior = PriorTraffic("web1", boxes)
    assert PriorTraffic.of_json(prior.as_json()) == prior
    assert (boxes[Place("lb1")].up, boxes[Place("lb2")].up) == (False, True)
    assert not prior.drained_by_others
    assert prior.left_as_it_was == "was drain on lb2 before this deployment, and not by it: left as it was"


def test_the_record_of_the_prior_state_is_what_every_version_reads() -> None:
    """Also release 0.1, which may take the deployment over."""
    prior = PriorTraffic(
        "web1", {Place("lb1"): PriorState(AdminState.MAINT, 40, 100, agent=True, up=False, process_id=17)}
    )
    state = {"admin": "maint", "user_weight": 40, "configured_weight": 100, "agent": True, "up": False}
    assert prior.as_json() == {"server": "web1", "boxes": {"lb1": {**state, "process_id": 17}}}


def test_a_weight_of_zero_that_somebody_set_counts_as_taken_out() -> None:
    assert drained_by_others(PriorState.of(replace(UP, user_weight=0), 1))
    assert not drained_by_others(PriorState.of(replace(UP, user_weight=0, configured_weight=0), 1))
    assert not drained_by_others()


def drained_by_others(*boxes: PriorState) -> bool:
    return PriorTraffic("web1", {Place(f"lb{number}"): box for number, box in enumerate(boxes)}).drained_by_others
