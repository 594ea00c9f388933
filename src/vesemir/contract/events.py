"""Every event that is published, one model each, with all fields of the contract's table.

They make the JSON Schemas and the AsyncAPI document, and the tests hold everything that is published to them
(``tests/published.py``): an unknown field is an error there. The schemas are open: a field may be added later, and who
reads events ignores what it does not know.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, model_validator

from vesemir.contract.fields import DeploymentId, Message, Name, Version
from vesemir.domain.control import CommandName
from vesemir.domain.doing import PhaseName
from vesemir.domain.failure import FailureCode

DeploymentStatus = Literal["succeeded", "failed", "cancelled", "timed_out", "rolled_back"]
TargetStatus = Literal[
    "succeeded", "failed", "unreachable", "timed_out", "cancelled", "skipped", "rolled_back", "unknown"
]
StepStatus = Literal["succeeded", "failed", "timed_out", "cancelled"]
DirectionName = Literal["forward", "back"]

OUTPUT_TAIL = 4096


def _open(schema: dict[str, JsonValue]) -> None:
    schema.pop("additionalProperties", None)


class PublishedModel(Message):
    """A part of an event."""

    model_config = ConfigDict(json_schema_extra=_open)


def _a_moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _a_code(text: str) -> str:
    return FailureCode(text).value


Moment = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z$",
        description="RFC 3339, in UTC",
        json_schema_extra={"format": "date-time"},
    ),
    AfterValidator(_a_moment),
]
# Codes may be added (contract section 3): the schema names those of today without forbidding those of tomorrow.
Code = Annotated[
    str,
    Field(
        pattern=r"^[a-z]+\.[a-z]+(?:_[a-z]+)*$",
        json_schema_extra={"examples": [code.value for code in FailureCode]},
    ),
    AfterValidator(_a_code),
]
InTraffic = Annotated[
    bool | None,
    Field(
        description="UP and ready with a weight above 0 in every backend on every load balancer; null: not known. "
        "Instances of 0.1 leave it out"
    ),
]
Duration = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class FailureBody(PublishedModel):
    """What went wrong; ``runbook`` is the place that says what to do."""

    code: Code
    message: str = Field(min_length=1)
    runbook: str = Field(pattern=r"^docs/runbook\.md#[a-z-]+$")


class Detail(PublishedModel):
    field: str
    message: str


class RefusalBody(FailureBody):
    """The failure of a refused message, with everything that was found wrong."""

    details: list[Detail]


class Event(PublishedModel):
    """The common fields. A consumer drops what it has by (``deployment_id``, ``sequence``)."""

    event: str
    deployment_id: DeploymentId
    sequence: int = Field(ge=1, description="numbered from 1 without gaps in each deployment")
    occurred_at: Moment
    application: Name
    environment: Name
    version: Version
    instance: str = Field(pattern=r"^[^/]+/.+$", description="the instance's name, a slash, something unique")


class Answer(PublishedModel):
    """The common fields of what is told about a message and not by a deployment; null where they are not known."""

    event: str
    deployment_id: DeploymentId | None
    sequence: Literal[0]
    occurred_at: Moment
    application: Name | None
    environment: Name | None
    version: Version | None
    instance: str = Field(pattern=r"^[^/]+/.+$")


class BrokenGlass(PublishedModel):
    reason: str


class DeploymentAccepted(Event):
    event: Literal["deployment.accepted"]
    position: Count = Field(
        description="how many deployments of the same lane are active or wait before it; of those that wait for their "
        "not_before none"
    )
    not_before: Moment | None = Field(default=None, description="missing in events of release 0.1")
    dry_run: bool | None = Field(default=None, description="missing in events of release 0.1")
    break_glass: BrokenGlass | None = Field(description="Instances of 0.1 leave it out")


class DeploymentRejected(Answer):
    event: Literal["deployment.rejected"]
    failure: RefusalBody


class TargetPlace(PublishedModel):
    name: str
    address: str


class DeploymentStarted(Event):
    event: Literal["deployment.started"]
    targets: list[TargetPlace]
    batches: list[list[str]] = Field(description="names, the canary first")


class TargetStarted(Event):
    event: Literal["target.started"]
    target: str
    batch: int = Field(ge=1)
    direction: DirectionName


class StepFinished(Event):
    event: Literal["step.finished"]
    target: str
    step: str
    phase: PhaseName | None = Field(default=None, description="missing in events of release 0.1")
    status: StepStatus
    exit_status: int | None
    duration_seconds: Duration
    output: str = Field(max_length=OUTPUT_TAIL, description="the last 4 KiB, undecodable bytes replaced")
    output_truncated: bool


class TargetFinished(Event):
    event: Literal["target.finished"]
    target: str
    direction: DirectionName
    status: TargetStatus
    failure: FailureBody | None
    duration_seconds: Duration
    in_traffic: InTraffic = None


class TargetRegressed(Event):
    """It had succeeded, and was not well any more when it was looked at again."""

    event: Literal["target.regressed"]
    target: str
    failure: FailureBody
    in_traffic: bool | None = Field(description="null where no traffic is moved")


class DeploymentTurn(Event):
    """The deployment goes another way: somebody asked for it, or a failure made it."""

    requested_by: str | None = None
    reason: str | None = None
    failure: FailureBody | None = None

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if self.failure is None and not {"requested_by", "reason"} <= self.model_fields_set:
            raise ValueError("must have requested_by and reason, or failure")
        return self


class DeploymentPaused(DeploymentTurn):
    event: Literal["deployment.paused"]


class DeploymentResumed(DeploymentTurn):
    event: Literal["deployment.resumed"]


class DeploymentCancelling(DeploymentTurn):
    event: Literal["deployment.cancelling"]


class DeploymentRollingBack(DeploymentTurn):
    event: Literal["deployment.rolling_back"]


class DeploymentTakenOver(Event):
    event: Literal["deployment.taken_over"]
    epoch: int = Field(ge=1)
    previous_instance: str


class TargetResult(PublishedModel):
    name: str
    address: str
    status: TargetStatus
    failure: FailureBody | None
    duration_seconds: Duration
    in_traffic: InTraffic = None


class Metrics(PublishedModel):
    """Seconds, bytes and counts; ``targets_STATUS`` for every status."""

    queued_seconds: Duration
    resolve_seconds: Duration
    duration_seconds: Duration
    targets_total: Count
    targets_succeeded: Count
    targets_failed: Count
    targets_unreachable: Count
    targets_timed_out: Count
    targets_cancelled: Count
    targets_skipped: Count
    targets_rolled_back: Count
    targets_unknown: Count
    target_seconds_p50: Duration
    target_seconds_p95: Duration
    target_seconds_max: Duration
    steps_total: Count
    ssh_connect_seconds_p50: Duration
    ssh_connect_seconds_max: Duration
    output_bytes: Count
    takeovers: Count
    redone_steps: Count


class PlannedTarget(PublishedModel):
    """``server`` is BACKEND/SERVER in HAProxy; ``steps`` are in order, Vesemir's own included."""

    name: str
    address: str
    source: str = Field(description="where the address comes from, for people")
    server: str | None
    steps: list[str]
    unchecked: list[str] = Field(default_factory=list, description="what the dry run could not look at, and why")
    taken_out: str = Field(
        default="", description="how and where its server is taken out of traffic already; empty where it is not"
    )


class PlanBody(PublishedModel):
    """What a dry run would do."""

    batches: list[list[str]]
    targets: list[PlannedTarget]
    load_balancers: list[str]
    promotion: list[str] = Field(
        default_factory=list, description="what must succeed elsewhere first, or it would be promotion.missing"
    )


class DeploymentFinished(Event):
    event: Literal["deployment.finished"]
    status: DeploymentStatus
    failure: FailureBody | None
    targets: list[TargetResult]
    metrics: Metrics
    plan: PlanBody | None = Field(default=None, description="of a dry run only")


class ControlAccepted(Answer):
    event: Literal["control.accepted"]
    command: CommandName
    failure: None
    known: bool = Field(description="false: a cancel is kept for a day until the deploy event of its id comes")


class ControlRejected(Answer):
    event: Literal["control.rejected"]
    command: CommandName | None = Field(description="null where it could not be read")
    failure: FailureBody | RefusalBody


EVENTS: Mapping[str, type[Event] | type[Answer]] = {
    "deployment.accepted": DeploymentAccepted,
    "deployment.rejected": DeploymentRejected,
    "deployment.started": DeploymentStarted,
    "target.started": TargetStarted,
    "step.finished": StepFinished,
    "target.finished": TargetFinished,
    "target.regressed": TargetRegressed,
    "deployment.paused": DeploymentPaused,
    "deployment.resumed": DeploymentResumed,
    "deployment.cancelling": DeploymentCancelling,
    "deployment.rolling_back": DeploymentRollingBack,
    "deployment.taken_over": DeploymentTakenOver,
    "deployment.finished": DeploymentFinished,
    "control.accepted": ControlAccepted,
    "control.rejected": ControlRejected,
}
"""By name, in the contract's order."""
