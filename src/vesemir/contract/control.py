"""The control message, version 1 (contract section 2): about one deployment, or about one lane."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from vesemir.contract.fields import NAME_SAYS, REASON_SAYS, Claim, DeploymentId, Message, Name, Reason
from vesemir.contract.moments import MOMENT_SAYS, OffsetMoment
from vesemir.domain.control import DeploymentCommandName, LaneCommandName, OnceAnswer

CONTROL_SCHEMA = "vesemir.control/1"

_COMMAND_SAYS = '"cancel", "pause", "resume", "lock" or "unlock"'
_CLAIM_SAYS = "text of at most 1024 characters"


class ControlMessage(Message):
    """Cancel, pause or resume one deployment. Commands are idempotent."""

    schema_: Literal["vesemir.control/1"] = Field(alias="schema", description=f'"{CONTROL_SCHEMA}"')
    command: DeploymentCommandName = Field(description=_COMMAND_SAYS)
    deployment_id: DeploymentId
    requested_by: Claim | None = Field(default=None, description=_CLAIM_SAYS)
    reason: Claim | None = Field(default=None, description=_CLAIM_SAYS)
    once: OnceAnswer | None = Field(default=None, description='"done", "again" or "failed", with "resume" only')


class LaneControlMessage(Message):
    """Lock or unlock one lane. While it is locked nothing in it begins."""

    schema_: Literal["vesemir.control/1"] = Field(alias="schema", description=f'"{CONTROL_SCHEMA}"')
    command: LaneCommandName = Field(description=_COMMAND_SAYS)
    application: Name = Field(description=NAME_SAYS)
    environment: Name = Field(description=NAME_SAYS)
    requested_by: Claim | None = Field(default=None, description=_CLAIM_SAYS)
    reason: Reason = Field(description=REASON_SAYS)
    until: OffsetMoment | None = Field(default=None, description=f'{MOMENT_SAYS}, with "lock" only')


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A control message about a deployment after it was validated."""

    command: DeploymentCommandName
    deployment_id: str
    requested_by: str | None
    reason: str | None
    once: OnceAnswer | None = None


@dataclass(frozen=True, slots=True)
class LaneRequest:
    """One about a lane. ``until`` in seconds since the epoch; None: until somebody unlocks it."""

    command: LaneCommandName
    application: str
    environment: str
    requested_by: str | None
    reason: str
    until: float | None = None
