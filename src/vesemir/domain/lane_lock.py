"""A locked lane: nothing of it begins, but for what may go past the lock (contract section 2). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vesemir.domain.identity import Identity
from vesemir.domain.problem import Problem


@dataclass(frozen=True, slots=True)
class LaneLock:
    """Why, who, and when: ``since`` and ``until`` are RFC 3339 in UTC, by the database's clock.

    ``until`` None: until somebody unlocks it. ``deployment``: a limit of the policy locked the lane after this one.
    """

    since: str
    until: str | None
    reason: str
    requested_by: str | None = None
    identity: Identity | None = None
    deployment: str | None = None

    @classmethod
    def recorded(cls, lock: Mapping[str, Any], *, since: str, until: str | None) -> "LaneLock":
        """As the record keeps it; a later release may keep more."""
        return cls(
            since,
            until,
            lock.get("reason") or "",
            lock.get("requested_by"),
            Identity.recorded(lock.get("identity")),
            lock.get("deployment"),
        )

    def kept(self) -> dict[str, Any]:
        """What the record keeps beside the times."""
        return {
            "requested_by": self.requested_by,
            "identity": None if self.identity is None else str(self.identity),
            "reason": self.reason,
            "deployment": self.deployment,
        }

    @property
    def by(self) -> str:
        """Who locked it, as people read it."""
        if self.deployment is not None:
            return f"Vesemir after {self.deployment}"
        proved = "" if self.identity is None else str(self.identity)
        if self.requested_by and proved:
            return f"{self.requested_by} ({proved})"
        return self.requested_by or proved or "nobody named"

    @property
    def end(self) -> str:
        return "until somebody unlocks it" if self.until is None else f"until {self.until}"

    def problem(self) -> Problem:
        """Why a deploy event is refused."""
        text = (
            f"is locked by {self.by} since {self.since}, {self.end}: {self.reason}; send it again when "
            "the lane is unlocked (`vesemir unlock`), or with break_glass where the policy allows that"
        )
        return Problem("environment", text)
