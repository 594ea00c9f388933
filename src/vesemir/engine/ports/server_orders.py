"""The port to what the record knows of a lane's servers beyond one deployment."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from vesemir.domain.audit import AuditEntry
from vesemir.domain.identity import UNPROVED, Asker
from vesemir.domain.traffic_prior import PriorTraffic


class ServerCommand(StrEnum):
    READY = "ready"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class ServerOrder:
    """What a person ordered. ``traffic`` is what a drain found, and ``backend`` that of its places without one;
    ``deployment_id`` names the deployment by which the server was known.

    ``ordered_at`` is RFC 3339 in UTC; empty before it is recorded.
    """

    lane: str
    target: str
    command: ServerCommand
    deployment_id: str
    requested_by: str
    reason: str | None
    traffic: PriorTraffic | None = None
    backend: str = ""
    ordered_at: str = ""
    asker: Asker = UNPROVED
    """For the audit alone."""

    def audited(self, outcome: str) -> AuditEntry:
        return order_entry(
            self.lane,
            self.target,
            self.command,
            outcome,
            asker=self.asker,
            reason=self.reason,
            deployment_id=self.deployment_id,
        )


def order_entry(
    lane: str,
    target: str,
    command: ServerCommand,
    outcome: str,
    *,
    asker: Asker,
    reason: str | None,
    deployment_id: str | None = None,
    rule: str | None = None,
) -> AuditEntry:
    """``outcome``: ``accepted``, or the failure code, with ``rule`` for what stood in the way."""
    application, _, environment = lane.partition("/")
    return AuditEntry(
        "control",
        outcome,
        asker,
        deployment_id=deployment_id,
        application=application,
        environment=environment,
        command=command.value,
        reason=reason,
        rule=rule,
        target=target,
    )


class ServerOrders(Protocol):
    """Every method raises ``StoreAwayError``."""

    async def last_with_server(self, lane: str, target: str) -> str | None:
        """The id of the lane's newest deployment, no dry run, that had this target behind HAProxy."""
        ...

    async def worked_on_by(self, lane: str, target: str) -> str | None:
        """The id of the deployment that has this target in work now."""
        ...

    async def last_order(self, lane: str, target: str) -> ServerOrder | None:
        """What people ordered last for this server."""
        ...

    async def keep_order(self, order: ServerOrder) -> None:
        """Record it, with its row of the audit.

        The server is not one that a result left drained any more: a person decided over it.
        """
        ...
