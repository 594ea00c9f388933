"""What was in HAProxy before a deployment touched a server, as it is kept in the record; pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vesemir.domain.traffic import AdminState, ServerState
from vesemir.domain.traffic_place import Place

NOT_BY_IT = "before this deployment, and not by it"
LEFT_DRAINED = "is left drained on"
"""What a failure says of a server that its deployment took out and left so."""


def left_as_it_was_in(output: str) -> str:
    """What a step's output says that somebody else had done: ``drain on lb1``; empty if it says nothing of it."""
    found = re.search(rf"\bwas ([^;\n]+) {NOT_BY_IT}", output)
    return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class PriorState:
    """One server in one place. ``up`` says whether it really was; ``process_id`` tells a reload."""

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

    @classmethod
    def of_json(cls, recorded: Mapping[str, Any]) -> "PriorState":
        return cls(
            admin=AdminState(recorded["admin"]),
            user_weight=recorded["user_weight"],
            configured_weight=recorded["configured_weight"],
            agent=recorded["agent"],
            up=recorded["up"],
            process_id=recorded["process_id"],
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "admin": self.admin.value,
            "user_weight": self.user_weight,
            "configured_weight": self.configured_weight,
            "agent": self.agent,
            "up": self.up,
            "process_id": self.process_id,
        }


@dataclass(frozen=True, slots=True)
class PriorTraffic:
    """One server everywhere it stands; a place that was added since is missing.

    Recorded before the server is touched, so that the one that takes the deployment over can go on from it. ``places``
    is what was found: it is given back after an early failure. ``healthy`` is what comes back after a success, in the
    places where the earlier deployment ``left_by`` had left it drained (contract section 5).
    """

    server: str
    places: Mapping[Place, PriorState]
    healthy: Mapping[Place, PriorState] = field(default_factory=dict)
    left_by: str = ""

    @property
    def wanted(self) -> Mapping[Place, PriorState]:
        """What it is to be after a success."""
        return {**self.places, **self.healthy}

    @property
    def found_out(self) -> bool:
        """Taken out in every place when it was found, by an earlier deployment or by somebody else."""
        return bool(self.places) and all(state.is_taken_out for state in self.places.values())

    @property
    def drained_by_others(self) -> bool:
        """Taken out in every place before, and not by a deployment of this lane (contract section 5): it is worked on
        and left as it was."""
        return bool(self.places) and all(state.is_taken_out for state in self.wanted.values())

    @property
    def left_as_it_was(self) -> str:
        """The words for what somebody else had taken out before; empty when nothing was."""
        found = self.taken_out
        return f"was {found} {NOT_BY_IT}: left as it was" if found else ""

    @property
    def taken_out(self) -> str:
        """``drain on lb1, ready at weight 0 on lb2``; empty where nobody had taken it out."""
        return ", ".join(f"{state} on {place}" for place, state in self.wanted.items() if state.is_taken_out)

    @property
    def shown(self) -> str:
        """As it was found: ``drain on lb1, maint on lb2``."""
        return ", ".join(f"{state} on {place}" for place, state in self.places.items())

    @property
    def healing(self) -> str:
        """The words for what an earlier deployment had left drained; empty where it had not."""
        places = ", ".join(map(str, self.healthy))
        return f"deployment {self.left_by} had left it drained on {places}: it comes back" if self.healthy else ""

    @classmethod
    def of_json(cls, recorded: Mapping[str, Any]) -> "PriorTraffic":
        places = {Place.of(text): PriorState.of_json(state) for text, state in recorded["boxes"].items()}
        healthy = {Place.of(text): PriorState.of_json(state) for text, state in recorded.get("healthy", {}).items()}
        return cls(recorded["server"], places, healthy, recorded.get("left_by", ""))

    def as_json(self) -> dict[str, Any]:
        """As instances of every version read it: one of 0.1 does not look at ``healthy``, and leaves such a server as
        it was."""
        found = {"server": self.server, "boxes": _as_json(self.places)}
        return {**found, "healthy": _as_json(self.healthy), "left_by": self.left_by} if self.healthy else found


def _as_json(places: Mapping[Place, PriorState]) -> dict[str, Any]:
    return {str(place): state.as_json() for place, state in places.items()}
