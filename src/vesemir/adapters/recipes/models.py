"""What a recipe file may hold, in the words of the file.

An unknown key is an error: a typo must not become a default.
"""

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from vesemir.domain.recipe import LONGEST_DEADLINE, LONGEST_STABLE, ParameterType
from vesemir.domain.template import NAME

Seconds = Annotated[float, Field(gt=0, le=86400)]
NonEmpty = Annotated[str, Field(min_length=1)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

MAX_SCRIPT_BYTES = 100_000
"""One argument of a program holds 128 KiB on Linux (execve(2)); this leaves room for sudo and the like."""

MAX_PARAMETER_BYTES = 120_000


def _flag(value: object) -> object:
    if not isinstance(value, bool | str):
        raise ValueError('must be true, false or a placeholder such as "{sudo}"')  # noqa: TRY004 - pydantic reports ValueError only
    return value


def _scalar(value: object) -> object:
    if not isinstance(value, bool | str | int):
        raise ValueError("must be text, an integer, true or false")  # noqa: TRY004 - pydantic reports ValueError only
    return value


def _seconds(*, longest: float, zero: bool) -> BeforeValidator:
    """A number of seconds; or text, which is to be a placeholder."""

    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError('must be a number of seconds or a placeholder such as "{start_seconds}"')  # noqa: TRY004 - pydantic reports ValueError only
        if not isinstance(value, str) and not (0 <= value <= longest and (zero or value > 0)):
            raise ValueError(f"must be from 0 to {longest:g} seconds" + ("" if zero else ", and not 0"))
        return value

    return BeforeValidator(check)


Flag = Annotated[Any, BeforeValidator(_flag)]
Scalar = Annotated[Any, BeforeValidator(_scalar)]
Deadline = Annotated[Any, _seconds(longest=LONGEST_DEADLINE, zero=False)]
StableSeconds = Annotated[Any, _seconds(longest=LONGEST_STABLE, zero=True)]


class _RecipeTomlTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ParameterTable(_RecipeTomlTable):
    type: Annotated[ParameterType, Field(strict=False)] = ParameterType.STRING
    pattern: str | None = None
    required: bool = False
    default: Scalar = None
    secret: bool = False
    max_length: int = Field(default=65536, ge=1, le=MAX_PARAMETER_BYTES)
    minimum: int | None = None
    maximum: int | None = None
    choices: list[Scalar] = []
    description: str = ""

    @model_validator(mode="after")
    def _required_or_default(self) -> Self:
        _one_of_required_and_default(required=self.required, has_default=self.default is not None)
        return self


class VariableTable(_RecipeTomlTable):
    default: str | None = None
    pattern: str | None = None
    required: bool = False
    trusted: bool = False
    description: str = ""

    @model_validator(mode="after")
    def _required_or_default(self) -> Self:
        _one_of_required_and_default(required=self.required, has_default=self.default is not None)
        return self


def _one_of_required_and_default(*, required: bool, has_default: bool) -> None:
    if required == has_default:
        raise ValueError("set either required = true or a default")


class PutTable(_RecipeTomlTable):
    source: NonEmpty | None = None
    content: str | None = None
    destination: NonEmpty
    mode: str = Field(default="0644", pattern=r"^[0-7]{3,4}$")
    owner: str | None = None
    group: str | None = None
    sha256: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.content is None):
            raise ValueError("set exactly one of source and content")
        return self


class FetchTable(_RecipeTomlTable):
    url: NonEmpty
    sha256: NonEmpty
    destination: NonEmpty
    mode: str = Field(default="0644", pattern=r"^[0-7]{3,4}$")
    owner: str | None = None
    group: str | None = None


class CheckTable(_RecipeTomlTable):
    http: NonEmpty | None = None
    status: int = Field(default=200, ge=100, le=599)
    contains: str | None = None
    # The key is called json in the file; a field of that name would hide a method of pydantic's.
    json_keys: dict[str, str] = Field(default={}, alias="json")
    tcp: NonEmpty | None = None
    command: list[str] | None = Field(default=None, min_length=1)
    interval: Seconds = 1
    deadline: Deadline = 60
    stable_seconds: StableSeconds = 0
    health: bool = True

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.http, self.tcp, self.command)) != 1:
            raise ValueError("set exactly one of http, tcp and command")
        if self.http is None and self.model_fields_set & {"status", "contains", "json_keys"}:
            raise ValueError("status, contains and json belong to an http check")
        return self


class StepTable(_RecipeTomlTable):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    command: list[str] | None = Field(default=None, min_length=1)
    script: NonEmpty | None = None
    put: PutTable | None = None
    fetch: FetchTable | None = None
    check: CheckTable | None = None
    sudo: Flag = False
    timeout: Seconds | None = None
    retries: int = Field(default=0, ge=0, le=100)
    idempotent: Flag = True
    environment: dict[EnvironmentName, str] = {}
    cwd: NonEmpty | None = None
    failures: dict[str, str] = {}
    on_failure_show: list[str] | None = Field(default=None, min_length=1)

    @property
    def work(self) -> "StepWork":
        """Whichever of its kinds it has."""
        (work,) = self._works()
        return work

    def _works(self) -> "list[StepWork]":
        kinds = (self.command, self.script, self.put, self.fetch, self.check)
        return [kind for kind in kinds if kind is not None]

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self._works()) != 1:
            raise ValueError("a step has exactly one of command, script, put, fetch and check")
        if self.script is not None and len(self.script.encode()) > MAX_SCRIPT_BYTES:
            raise ValueError(f"script is longer than {MAX_SCRIPT_BYTES} bytes; put it into the artifact")
        return self


StepWork = list[str] | str | PutTable | FetchTable | CheckTable
"""Of a step: the words of its command, the text of its script, or a table."""


class RecipeTable(_RecipeTomlTable):
    description: str = ""
    parameters: dict[Annotated[str, Field(pattern=f"^{NAME}$")], ParameterTable] = {}
    variables: dict[Annotated[str, Field(pattern=f"^{NAME}$")], VariableTable] = {}
    prepare: list[StepTable] = []
    steps: list[StepTable] = Field(min_length=1)
    rollback: list[StepTable] = []
    plan: list[StepTable] = []
