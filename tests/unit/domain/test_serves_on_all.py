"""A target is in traffic only where every view of HAProxy says so."""

import pytest

from vesemir.domain.traffic import AdminState, ServerState, serves_on_all

UP = ServerState("web1", AdminState.READY, "UP", 100, 100, 100)
FALLING = ServerState("web1", AdminState.READY, "UP 1/3", 100, 100, 100)
DOWN = ServerState("web1", AdminState.READY, "DOWN", 100, 100, 100)
DRAINED = ServerState("web1", AdminState.DRAIN, "DRAIN", 0, 100, 100)
AT_ZERO = ServerState("web1", AdminState.READY, "UP", 0, 0, 100)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ([UP], True),
        ([UP, FALLING], True),
        ([UP, DOWN], False),
        ([DRAINED], False),
        ([AT_ZERO], False),
    ],
)
def test_it_is_up_ready_and_has_a_weight_everywhere(seen: list[ServerState], *, said: bool) -> None:
    assert serves_on_all([{"web1": state} for state in seen], "web1") is said


def test_what_cannot_be_asked_is_not_known_unless_another_says_no() -> None:
    assert serves_on_all([{"web1": UP}, None], "web1") is None
    assert serves_on_all([None, {"web1": DOWN}], "web1") is False
    assert serves_on_all([{"web1": UP}, {}], "web1") is False, "a load balancer without this server sends it nothing"
    assert serves_on_all([], "web1") is None
