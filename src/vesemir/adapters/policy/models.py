"""What a policy file may hold, in the words of the file. An unknown key is an error: a typo must not open a door."""

import re
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vesemir.domain.control import COMMANDS
from vesemir.domain.policy import REQUIRABLE


class _PolicyTomlTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Pattern = Annotated[str, Field(min_length=1, max_length=1024)]
NameList = Annotated[list[Pattern], Field(min_length=1)]
"""An empty list would allow nobody, or nothing: that is hardly what it was meant to say."""

RuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


def _moment(value: object) -> object:
    """What TOML has for times, or text such as ``"fri 16:00"``; the builder knows which goes where."""
    if isinstance(value, date) and not isinstance(value, datetime):
        raise ValueError("needs a time of day too: 2026-12-20T00:00:00")  # noqa: TRY004 - pydantic reports ValueError only
    if not isinstance(value, str | datetime | time):
        raise ValueError('must be a date with time, "16:00" or "fri 16:00"')  # noqa: TRY004 - pydantic reports ValueError only
    return value


def _share(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('must be a whole number or a percentage such as "25%"')  # noqa: TRY004 - pydantic reports ValueError only
    return value


Moment = Annotated[Any, BeforeValidator(_moment)]
ShareValue = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^(?:0|[1-9][0-9]?|100)%$")], BeforeValidator(_share)
]


_SOAK = re.compile(r"(0|[1-9][0-9]{0,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_SOAK = 365 * 86400


def _soak(value: object) -> object:
    """In seconds."""
    if isinstance(value, str) and (found := _SOAK.fullmatch(value)):
        value = int(found[1]) * _SECONDS[found[2]]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LONGEST_SOAK:
        raise ValueError('must be a whole number of seconds, or "90m", "2h", "7d", up to a year')
    return value


Soak = Annotated[int, BeforeValidator(_soak)]


class ScopeTable(_PolicyTomlTable):
    name: RuleName
    applications: NameList | None = None
    environments: NameList | None = None
    contact: str = ""


class ChefTable(_PolicyTomlTable):
    tags: NameList | None = None
    roles: NameList | None = None
    recipes: NameList | None = None
    environments: NameList | None = None
    clusters: NameList | None = None
    query: bool = False


class TargetsTable(_PolicyTomlTable):
    hosts: NameList | None = None
    groups: NameList | None = None
    chef: ChefTable | None = None


class HaproxyTable(_PolicyTomlTable):
    backends: NameList | None = None
    servers: NameList | None = None
    targets: TargetsTable | None = None


class NoTrafficTable(HaproxyTable):
    """``haproxy = false``."""


def _traffic(value: object) -> object:
    if value is False:
        return NoTrafficTable()
    if not isinstance(value, dict):
        raise ValueError("must be false, or a table with backends, servers or targets")  # noqa: TRY004 - pydantic reports ValueError only
    return value


class AllowTable(ScopeTable):
    users: NameList | None = None
    identities: NameList | None = None
    groups: NameList | None = None
    teams: NameList | None = None
    requesters: NameList | None = None
    recipes: NameList | None = None
    targets: TargetsTable | None = None
    break_glass: bool = False
    haproxy: Annotated[HaproxyTable | None, BeforeValidator(_traffic)] = None
    once_hosts: NameList | None = None


class ExceptTable(_PolicyTomlTable):
    users: NameList | None = None
    identities: NameList | None = None
    groups: NameList | None = None
    teams: NameList | None = None
    requesters: NameList | None = None


class FreezeTable(ScopeTable):
    days: Annotated[list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], Field(min_length=1)] | None = None
    # ``from`` is a word of Python's.
    start: Moment = Field(default=None, alias="from", validate_default=False)
    until: Moment = Field(default=None, validate_default=False)
    timezone: str | None = None
    reason: str = ""
    exceptions: ExceptTable = Field(default=ExceptTable(), alias="except")


class LimitTable(ScopeTable):
    max_targets: int | None = Field(default=None, ge=1)
    max_concurrency: ShareValue | None = None
    max_canary: ShareValue | None = None
    max_failures: ShareValue | None = None
    min_available: ShareValue | None = None
    require: list[Literal[REQUIRABLE]] = []  # type: ignore[valid-type] # a tuple of texts, which mypy cannot unfold
    on_failure: list[Literal["stop", "rollback", "continue"]] = []
    lock_after_rollback: bool = False
    per: Literal["identity", "application"] | None = None
    max_waiting: int | None = Field(default=None, ge=1)
    max_running: int | None = Field(default=None, ge=1)


class PromoteTable(ScopeTable):
    require_success_in: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    soak: Soak = 0
    same_artifact: bool = True


class ControlTable(ScopeTable):
    commands: Annotated[list[Literal[COMMANDS]], Field(min_length=1)] | None = None  # type: ignore[valid-type] # as above
    identities: NameList | None = None
    groups: NameList | None = None
    not_requester: bool = False


class IdentityTable(_PolicyTomlTable):
    name: RuleName
    # ``is`` is a word of Python's.
    identities: NameList = Field(alias="is")


class PolicyTable(_PolicyTomlTable):
    contact: str = ""
    otherwise: Literal["refuse", "allow"] = "refuse"
    allow: list[AllowTable] = []
    freeze: list[FreezeTable] = []
    limit: list[LimitTable] = []
    promote: list[PromoteTable] = []
    identity: list[IdentityTable] = []
    control: list[ControlTable] = []
