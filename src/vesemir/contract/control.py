"""The control message, version 1 (contract section 2)."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from vesemir.contract.fields import Claim, DeploymentId, Message
from vesemir.domain.control import CommandName

CONTROL_SCHEMA = "vesemir.control/1"


class ControlMessage(Message):
    """Cancel, pause or resume one deployment. Commands are idempotent."""

    schema_: Literal["vesemir.control/1"] = Field(alias="schema", description=f'"{CONTROL_SCHEMA}"')
    command: CommandName = Field(description='"cancel", "pause" or "resume"')
    deployment_id: DeploymentId
    requested_by: Claim | None = Field(default=None, description="text of at most 1024 characters")
    reason: Claim | None = Field(default=None, description="text of at most 1024 characters")


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A control message after it was validated."""

    command: CommandName
    deployment_id: str
    requested_by: str | None
    reason: str | None
