"""What was in HAProxy before a deployment touched a server, as it is kept in the record; pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vesemir.domain.traffic import AdminState, ServerState

Prior = Mapping[str, Any]
"""``{"server": …, "boxes": {NAME: {…}}}``: JSON, so that whoever takes the deployment over can go on from it."""


@dataclass(frozen=True, slots=True)
class PriorState:
    """One server on one load balancer. ``up`` says whether it really was; ``process_id`` tells a reload."""

    admin: AdminState
    user_weight: int
    configured_weight: int
    agent: bool
    up: bool
    process_id: int

    @property
    def is_taken_out(self) -> bool:
        """As ``ServerState.is_taken_out``: somebody wanted no traffic on it."""
        return self.admin is not AdminState.READY or (self.user_weight == 0 and self.configured_weight > 0)

    def __str__(self) -> str:
        weight = "" if self.user_weight == self.configured_weight else f" at weight {self.user_weight}"
        return f"{self.admin.value}{weight}"

    @classmethod
    def of(cls, state: ServerState, process_id: int) -> "PriorState":
        return cls(
            admin=state.admin,
            user_weight=state.user_weight,
            configured_weight=state.configured_weight,
            agent=state.agent_enabled,
            up=state.status not in {"DOWN", "DOWN (agent)"} and not state.status.startswith("DOWN "),
            process_id=process_id,
        )


def prior_as_json(server: str, boxes: Mapping[str, PriorState]) -> dict[str, Any]:
    return {
        "server": server,
        "boxes": {
            name: {
                "admin": prior.admin.value,
                "user_weight": prior.user_weight,
                "configured_weight": prior.configured_weight,
                "agent": prior.agent,
                "up": prior.up,
                "process_id": prior.process_id,
            }
            for name, prior in boxes.items()
        },
    }


def prior_of(prior: Prior) -> dict[str, PriorState]:
    """By the load balancer's name; one that was added since is missing."""
    return {
        name: PriorState(
            admin=AdminState(box["admin"]),
            user_weight=box["user_weight"],
            configured_weight=box["configured_weight"],
            agent=box["agent"],
            up=box["up"],
            process_id=box["process_id"],
        )
        for name, box in prior["boxes"].items()
    }


def left_as_it_was(boxes: Mapping[str, PriorState]) -> str:
    """The words for what somebody else had taken out before; empty when nothing was."""
    found = [f"{prior} on {name}" for name, prior in boxes.items() if prior.is_taken_out]
    return f"was {', '.join(found)} before this deployment, and not by it: left as it was" if found else ""


def is_foreign(boxes: Iterable[PriorState]) -> bool:
    """Taken out on every load balancer before, not by this deployment (contract section 5)."""
    known = list(boxes)
    return bool(known) and all(prior.is_taken_out for prior in known)
