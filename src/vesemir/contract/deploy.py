"""The deploy event, version 1 (contract section 2): its form. Rules across fields are in ``rules``."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from vesemir.contract.fields import (
    LINE_SAYS,
    NAME_SAYS,
    REASON_SAYS,
    SECONDS_SAYS,
    Claim,
    DeploymentId,
    Line,
    Message,
    Name,
    Reason,
    Seconds,
    Version,
)
from vesemir.contract.moments import MOMENT_SAYS, OffsetMoment

DEPLOY_SCHEMA = "vesemir.deploy/1"

_PERCENT = r"^(?:100|[1-9]?[0-9])%$"
_PERCENT_FROM_1 = r"^(?:100|[1-9][0-9]?)%$"

ShareFrom0 = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=_PERCENT)]
ShareFrom1 = Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=_PERCENT_FROM_1)]
MIN_HEALTHY_SECONDS = 2.0
SHARE_SAYS = 'a whole number from 0, or a percentage from "0%" to "100%"'

Lines = Annotated[list[Line], Field(fail_fast=True)]
LINES_SAYS = f"a list of texts, each {LINE_SAYS}"

Backend = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,255}$")]
Backends = Annotated[
    list[Backend], Field(min_length=1, max_length=20, fail_fast=True, json_schema_extra={"uniqueItems": True})
]
BACKEND_SAYS = '1-255 of A-Za-z0-9_.:-, a list of 1-20 such names, or "*" for every backend that has the server'

Percent = Annotated[int, Field(ge=1, le=99)]
Percents = Annotated[list[Percent], Field(min_length=1, max_length=20, fail_fast=True)]


def _exactly_one(**forms: str) -> dict[str, JsonValue]:
    """One of the members is there and not null."""
    return {"oneOf": [{"required": [name], "properties": {name: {"type": kind}}} for name, kind in forms.items()]}


_CHEF_HAS_SOMETHING: dict[str, JsonValue] = {
    "anyOf": [
        {"required": ["tags"], "properties": {"tags": {"minItems": 1}}},
        {"required": ["roles"], "properties": {"roles": {"minItems": 1}}},
        {"required": ["recipes"], "properties": {"recipes": {"minItems": 1}}},
        {"required": ["query"], "properties": {"query": {"type": "string"}}},
    ]
}


class ChefTargets(Message):
    """Nodes with all of these tags, roles and recipes in the environment; or a raw query, alone."""

    model_config = ConfigDict(json_schema_extra=_CHEF_HAS_SOMETHING)

    tags: Lines = Field(default=[], description=LINES_SAYS)
    roles: Lines = Field(default=[], description=LINES_SAYS)
    recipes: Lines = Field(default=[], description=LINES_SAYS)
    environment: Line | None = Field(default=None, description=f"the name of a Chef environment, {LINE_SAYS}")
    query: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        default=None, description="a Chef search query of 1-4096 characters"
    )
    cluster: Line | None = Field(default=None, description=f"the name of a Chef server in the settings, {LINE_SAYS}")


class InventoryTargets(Message):
    """Groups of the static inventory file."""

    groups: Annotated[list[Line], Field(min_length=1, fail_fast=True)] = Field(
        description=f"a list of at least one group name, each {LINE_SAYS}"
    )


class Targets(Message):
    """Exactly one of the three."""

    model_config = ConfigDict(json_schema_extra=_exactly_one(chef="object", inventory="object", hosts="array"))

    chef: ChefTargets | None = Field(
        default=None, description="an object with tags, roles, recipes, environment, cluster, or query and cluster"
    )
    inventory: InventoryTargets | None = Field(default=None, description="an object with groups")
    hosts: Annotated[list[str], Field(min_length=1, fail_fast=True)] | None = Field(
        default=None,
        description="a list of at least one host name, each 1-253 of A-Za-z0-9._-, starting with a letter or digit",
    )


class HaproxyPart(Message):
    """Where and how traffic is moved."""

    targets: Targets = Field(description="an object with exactly one of chef, inventory, hosts")
    backend: Literal["*"] | Backend | Backends = Field(description=BACKEND_SAYS)
    server: str = Field(
        max_length=255,
        pattern=r"^(?:[A-Za-z0-9_.:-]|\{name\})+$",
        description="1-255 of A-Za-z0-9_.:- and {name}, which stands for the target's name",
    )
    drain_seconds: Seconds = Field(default=30, description=SECONDS_SAYS)
    on_drain_timeout: Literal["fail", "shutdown"] = Field(default="fail", description='"fail" or "shutdown"')
    weight: Percent | Percents | None = Field(
        default=None, description="a whole number from 1 to 99 (percent), or a list of 1-20 of them"
    )
    degradation_seconds: Seconds | None = Field(default=None, description=SECONDS_SAYS)


class AnalysisPart(Message):
    """How the canary is judged by HAProxy's counters."""

    min_requests: int = Field(default=200, ge=0, description="a whole number from 0")
    hold_seconds: Seconds = Field(default=60, description=SECONDS_SAYS)
    max_error_ratio: float = Field(default=0.01, ge=0, le=1, allow_inf_nan=False, description="a number from 0 to 1")


class RolloutPart(Message):
    """In which order, how many at once, and what a failure means."""

    concurrency: ShareFrom1 = Field(default=1, description='a whole number from 1, or a percentage from "1%" to "100%"')
    canary: ShareFrom0 = Field(default=0, description=SHARE_SAYS)
    max_failures: ShareFrom0 = Field(default=0, description=SHARE_SAYS)
    pause_seconds: Seconds = Field(default=0, description=SECONDS_SAYS)
    min_available: ShareFrom0 | None = Field(default=None, description=SHARE_SAYS)
    on_failure: Literal["stop", "rollback", "continue"] = Field(
        default="stop", description='"stop", "rollback" or "continue"'
    )
    mode: Literal["batch", "window"] = Field(default="batch", description='"batch" or "window"')
    order_by: Line | None = Field(default=None, description=f"the name of an inventory attribute, {LINE_SAYS}")
    approve_after: Literal["canary", "batch", "group"] | None = Field(
        default=None, description='"canary", "batch" or "group"'
    )
    min_targets: int = Field(default=1, ge=1, description="a whole number from 1")
    analysis: AnalysisPart | None = Field(
        default=None, description="an object with min_requests, hold_seconds, max_error_ratio"
    )
    prepare: Literal["target", "all"] = Field(default="target", description='"target" or "all"')
    min_healthy_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = Field(
        default=MIN_HEALTHY_SECONDS, description="a number of seconds from 0 to 3600"
    )


_LIMIT_SAYS = "a number of seconds above 0; the settings cap it"
Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TimeoutsPart(Message):
    """In seconds; capped by the settings."""

    deployment: Limit = Field(default=3600, description=_LIMIT_SAYS)
    target: Limit = Field(default=900, description=_LIMIT_SAYS)
    step: Limit = Field(default=300, description=_LIMIT_SAYS)


class BreakGlassPart(Message):
    """Why it shall go past locks, freezes and missing promotions."""

    reason: Reason = Field(description=REASON_SAYS)


class DeployEvent(Message):
    """Bring a release of an application to its targets. ``deployment_id`` is the idempotency key."""

    schema_: Literal["vesemir.deploy/1"] = Field(alias="schema", description=f'"{DEPLOY_SCHEMA}"')
    deployment_id: DeploymentId
    application: Name
    environment: Name
    team: Name | None = Field(default=None, description=NAME_SAYS)
    requested_by: Claim | None = Field(default=None, description="text of at most 1024 characters")
    version: Version
    recipe: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        description="the name of a recipe, 1-255 characters"
    )
    parameters: dict[str, str | int | bool] = Field(
        default={}, max_length=1000, description="an object of at most 1000 texts, whole numbers and booleans"
    )
    targets: Targets = Field(description="an object with exactly one of chef, inventory, hosts")
    haproxy: HaproxyPart | None = Field(default=None, description="an object with targets, backend, server, …")
    rollout: RolloutPart = Field(default=RolloutPart(), description="an object with concurrency, canary, …")
    timeouts: TimeoutsPart = Field(
        default=TimeoutsPart(), description="an object with deployment, target, step, in seconds"
    )
    dry_run: bool = Field(default=False, description="true or false")
    not_before: OffsetMoment | None = Field(default=None, description=f"{MOMENT_SAYS}, at most 30 days ahead")
    not_after: OffsetMoment | None = Field(default=None, description=f"{MOMENT_SAYS}, after not_before, not past")
    break_glass: BreakGlassPart | None = Field(default=None, description="an object with reason")
