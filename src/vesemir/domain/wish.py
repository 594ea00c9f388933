"""What somebody wants of a deployment: to cancel, pause or resume it; pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """Who asked, and why; each None where the control message does not say it. Vesemir's own have a reason only."""

    requested_by: str | None = None
    reason: str | None = None

    @classmethod
    def of_json(cls, recorded: Mapping[str, str | None]) -> "Wish":
        return cls(recorded.get("requested_by"), recorded.get("reason"))

    def as_json(self) -> dict[str, str | None]:
        """As it is kept in the record, in the order in which the record gives it back."""
        return {"reason": self.reason, "requested_by": self.requested_by}
