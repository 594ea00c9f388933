"""A server that an earlier deployment of its lane left drained: what it comes back to once one succeeds; pure.

It must be found exactly as that deployment left it (contract section 5): whatever differs is somebody else's wish, and
stays as it is.
"""

from collections.abc import Mapping
from dataclasses import replace

from vesemir.domain.traffic import AdminState
from vesemir.domain.traffic_place import Place
from vesemir.domain.traffic_prior import PriorState, PriorTraffic


def healed(
    found: PriorTraffic, earlier: PriorTraffic, *, left_by: str, earlier_backend: str, backends: Mapping[Place, str]
) -> PriorTraffic:
    """``found`` with the states that it comes back to; ``found`` itself where it is not as ``earlier`` left it.

    ``earlier`` is what the deployment ``left_by`` had found before it took the server out. ``backends`` are those of
    the places of ``found``, ``earlier_backend`` that of the places of ``earlier`` without one: a deployment may name
    a single backend that another one had in a list. One that does not name all of them heals none.
    """
    left = {
        (place.box, place.backend or earlier_backend): was
        for place, was in earlier.wanted.items()
        if not was.is_taken_out
    }
    known = {(place.box, backends[place]): (place, state) for place, state in found.places.items()}
    boxes = {box for box, _ in known}
    healthy: dict[Place, PriorState] = {}
    for key, was in left.items():
        if key not in known:
            if key[0] in boxes:
                return found
            continue  # a load balancer that is gone
        place, state = known[key]
        if not state.is_taken_out:
            continue  # back since: a reload forgets, and people do one after the other
        if not _as_left(state):
            return found
        healthy[place] = replace(
            state, admin=AdminState.READY, user_weight=state.configured_weight, agent=was.agent, up=True
        )
    return replace(found, healthy=healthy, left_by=left_by) if healthy else found


def _as_left(state: PriorState) -> bool:
    """As ``ServerOnBox.leave_drained`` leaves it."""
    return state.admin is AdminState.DRAIN and not state.agent and state.user_weight == state.configured_weight
