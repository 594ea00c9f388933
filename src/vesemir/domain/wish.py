"""What somebody wants of a deployment: to cancel, pause or resume it; pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from vesemir.domain.identity import Identity


@dataclass(frozen=True, slots=True)
class Wish:
    """Who asked, and why; each None where the control message does not say it. Vesemir's own have a reason only.

    ``requested_by`` is a claim, ``identity`` was proved: it is kept and shown, and not part of any event.
    """

    requested_by: str | None = None
    reason: str | None = None
    identity: Identity | None = None

    @classmethod
    def of_json(cls, recorded: Mapping[str, str | None]) -> "Wish":
        """The release before records no identity."""
        return cls(recorded.get("requested_by"), recorded.get("reason"), Identity.recorded(recorded.get("identity")))

    def as_json(self) -> dict[str, str | None]:
        """As it is kept in the record, in the order in which the record gives it back."""
        identity = None if self.identity is None else str(self.identity)
        return {"reason": self.reason, "identity": identity, "requested_by": self.requested_by}
