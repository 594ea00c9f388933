"""A recipe: the named, server-side list of steps, its parameters, and the host variables that it reads.

A request names a recipe and gives it parameters; it never carries shell text (contract section 1).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vesemir.domain.failure import FailureCode
from vesemir.domain.problem import Problem
from vesemir.domain.template import Template

ParameterValue = str | int | bool

RECIPE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
REQUEST_FIELDS = ("application", "environment", "team", "version", "deployment_id", "recipe")
TARGET_FIELDS = ("target_name", "target_address")
RESERVED_STEPS = frozenset({"drain", "health", "enable", "analysis"})
"""Vesemir's own steps (contract section 1, *step*)."""

LONGEST_DEADLINE = 86400.0
LONGEST_STABLE = 3600.0
"""Seconds of a check."""

_INTEGER_BOUND = 2**63


class ParameterType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a request may give.

    ``default`` is a value or, for text with request placeholders, a template; None when it is required. ``pattern``
    must match the whole text; ``max_length`` counts UTF-8 bytes, because that is what an argument on a host is
    limited by (128 KiB on Linux, execve(2)).
    """

    name: str
    type: ParameterType = ParameterType.STRING
    default: ParameterValue | Template | None = None
    pattern: str | None = None
    secret: bool = False
    max_length: int = 65536
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[ParameterValue, ...] = ()
    description: str = ""

    @property
    def required(self) -> bool:
        return self.default is None


@dataclass(frozen=True, slots=True)
class Variable:
    """What the inventory says of a host (text). ``default`` is None when the host must have it.

    ``trusted``: only the operator says it, in an inventory file or in the settings, never the host itself.
    """

    name: str
    default: Template | None = None
    pattern: str | None = None
    description: str = ""
    trusted: bool = False

    @property
    def required(self) -> bool:
        return self.default is None


@dataclass(frozen=True, slots=True)
class Words:
    """Run a program: each template is one word on the host."""

    command: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """Run a fixed text with ``sh -eu``; what it needs to know comes in its environment, never in its text."""

    text: str


@dataclass(frozen=True, slots=True)
class Put:
    """Place a file: ``source`` is a file on the instance below ``artifacts.roots``, or ``content`` is its text."""

    destination: Template
    source: Template | None = None
    content: Template | None = None
    mode: int = 0o644
    owner: Template | None = None
    group: Template | None = None
    sha256: Template | None = None


@dataclass(frozen=True, slots=True)
class Fetch:
    """Place an artifact: uploaded from the instance (``file://``) or downloaded on the target (``http(s)://``)."""

    url: Template
    sha256: Template
    destination: Template
    mode: int = 0o644
    owner: Template | None = None
    group: Template | None = None


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """GET through the SSH connection. ``json`` maps dotted keys of the answer to the text that they must have."""

    url: Template
    status: int = 200
    contains: Template | None = None
    json: Mapping[str, Template] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Connect through the SSH connection to ``host:port``."""

    address: Template


@dataclass(frozen=True, slots=True)
class Check:
    """Try every ``interval`` seconds until it has passed for ``stable_seconds`` without a failing try, for ``deadline``
    seconds at most. As templates these two must render to a number of seconds.

    ``health`` says that it judges the release: it then fails with ``health.failed`` and not with ``step.failed``.
    """

    probe: HttpCheck | TcpCheck | Words
    interval: float = 1.0
    deadline: float | Template = 60.0
    health: bool = True
    stable_seconds: float | Template = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step and how it is run.

    ``timeout`` in seconds only shortens the request's ``timeouts.step``. ``failures`` maps exit statuses to codes.
    A template as ``sudo`` or ``idempotent`` must render to ``true`` or ``false``. ``on_failure_show`` is a program
    whose output is added to what is said of its failure.
    """

    name: str
    work: Words | Script | Put | Fetch | Check
    sudo: bool | Template = False
    timeout: float | None = None
    retries: int = 0
    idempotent: bool | Template = True
    environment: Mapping[str, Template] = field(default_factory=dict)
    cwd: Template | None = None
    failures: Mapping[int, FailureCode] = field(default_factory=dict)
    on_failure_show: Words | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """``rollback`` is empty for a recipe that has no way back. What ``prepare`` does changes nothing that serves: it is
    done while the target has its traffic, and again when it was interrupted. ``plan`` is what a dry run does on a
    target, and nothing else: commands and scripts that look and change nothing."""

    name: str
    description: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    prepare: tuple[Step, ...] = ()
    steps: tuple[Step, ...] = ()
    rollback: tuple[Step, ...] = ()
    plan: tuple[Step, ...] = ()
    source: str = field(default="", compare=False, repr=False)
    """The text it was read from, which is recorded with a deployment that begins with it."""
    older_source: str = field(default="", compare=False, repr=False)
    """The same as the release before can read it; empty where it reads ``source``."""

    @property
    def lists(self) -> Mapping[str, tuple[Step, ...]]:
        """Every list of steps by its name in the file."""
        return {"prepare": self.prepare, "steps": self.steps, "rollback": self.rollback, "plan": self.plan}


def check_parameters(recipe: Recipe, given: Mapping[str, object]) -> tuple[dict[str, ParameterValue], list[Problem]]:
    """Every value that the recipe will get, and every problem with what was given.

    A default with placeholders is not among the values: it is rendered with the request's fields (``render_steps``).
    """
    values: dict[str, ParameterValue] = {}
    problems: list[Problem] = []
    for name in given:
        if name not in recipe.parameters:
            known = ", ".join(recipe.parameters) or "none"
            problems.append(
                Problem(f"parameters.{name}", f"is not a parameter of recipe {recipe.name}; it has: {known}")
            )
    for name, parameter in recipe.parameters.items():
        if name not in given:
            if parameter.default is None:
                problems.append(Problem(f"parameters.{name}", f"is missing; recipe {recipe.name} requires it"))
            elif not isinstance(parameter.default, Template):
                values[name] = parameter.default
            continue
        value = given[name]
        reason = refuse_value(parameter, value)
        if reason is not None:
            problems.append(Problem(f"parameters.{name}", reason))
        elif isinstance(value, str | int):
            values[name] = value
    return values, problems


def refuse_value(parameter: Parameter, value: object) -> str | None:
    """Why this value is not one for this parameter; None when it is. A secret value is not repeated."""
    match parameter.type, value:
        case ParameterType.BOOLEAN, bool():
            reason = None
        case ParameterType.INTEGER, int() if not isinstance(value, bool):
            reason = _refuse_integer(parameter, value)
        case ParameterType.STRING, str():
            reason = _refuse_text(parameter, value)
        case _:
            return f"must be of type {parameter.type}"
    if reason is None and parameter.choices and value not in parameter.choices:
        return "must be one of: " + ", ".join(as_text(choice) for choice in parameter.choices)
    return reason


def _refuse_integer(parameter: Parameter, value: int) -> str | None:
    if parameter.minimum is not None and value < parameter.minimum:
        return f"must be at least {parameter.minimum}"
    if parameter.maximum is not None and value > parameter.maximum:
        return f"must be at most {parameter.maximum}"
    return None if -_INTEGER_BOUND <= value < _INTEGER_BOUND else "does not fit in 64 bits"


def _refuse_text(parameter: Parameter, value: str) -> str | None:
    if "\0" in value:
        return "must not hold a NUL character: no argument or environment variable of a program can"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode: it holds half of a surrogate pair"
    if size > parameter.max_length:
        return f"is {size} bytes long, at most {parameter.max_length} are allowed"
    if parameter.pattern is not None and re.fullmatch(parameter.pattern, value) is None:
        return f"must match {parameter.pattern} as a whole"
    return None


def as_text(value: ParameterValue) -> str:
    """How a value looks in a placeholder and in the environment: booleans are ``true`` and ``false``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def claimed_in_vain(recipe: Recipe, claimed: frozenset[str]) -> list[str]:
    """Variables that the recipe takes from the operator alone, and that a host says of itself."""
    return [name for name, variable in recipe.variables.items() if variable.trusted and name in claimed]


def has_secrets(recipe: Recipe) -> bool:
    """Whether a request may have to bring a secret."""
    return any(parameter.secret for parameter in recipe.parameters.values())


def secret_texts(recipe: Recipe, values: Mapping[str, ParameterValue]) -> frozenset[str]:
    """The texts that must not show in any log, event or record: what was given, and the recipe's own defaults."""
    return frozenset(
        text
        for name, parameter in recipe.parameters.items()
        if parameter.secret
        and isinstance(value := values.get(name, parameter.default), str | int)
        and not isinstance(value, bool)
        and (text := as_text(value))
    )
