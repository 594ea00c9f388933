"""The one door for messages: bytes in, a request of the domain or a refusal out. Nothing raises, whatever the bytes.

The order of the checks is that of the contract: size, syntax, schema; then who may be answered. The recipe, its
parameters, policy, and what the inventory knows are judged by those who know them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vesemir.contract.canonical import body_hash, canonical
from vesemir.contract.control import ControlMessage, ControlRequest, LaneControlMessage, LaneRequest
from vesemir.contract.defaults import with_defaults
from vesemir.contract.deploy import DeployEvent
from vesemir.contract.explain import limited, problems_of
from vesemir.contract.fields import COMMON_PATTERNS
from vesemir.contract.json_body import BODY, read_json
from vesemir.contract.moments import seconds_of
from vesemir.contract.properties import MessageProperties, property_problems
from vesemir.contract.rules import control_problems, host_problems, rule_problems
from vesemir.contract.translate import deploy_request
from vesemir.contract.unfolding import UnfoldsTooLargeError, unfolded
from vesemir.domain.control import COMMANDS, LANE_COMMANDS
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.problem import Problem
from vesemir.domain.request import DeployRequest, Timeouts

_Model = TypeVar("_Model", bound=BaseModel)

_MESSAGE_LIMIT = 400
"""Characters of a refusal's message; it also travels as a header (``x-vesemir-reason``)."""


@dataclass(frozen=True, slots=True)
class CommonFields:
    """What an answer repeats of the message; None where it could not be read or is not valid."""

    deployment_id: str | None = None
    application: str | None = None
    environment: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message is not obeyed. ``command`` is that of a control message, where it could be read.

    A message refused for its ``reply_to`` (``request.forbidden``) must not be answered there.
    """

    code: FailureCode
    message: str
    problems: tuple[Problem, ...] = ()
    common: CommonFields = CommonFields()
    command: str | None = None

    @property
    def details(self) -> list[dict[str, str]]:
        """The list of ``{field, message}`` of ``deployment.rejected``."""
        return [{"field": problem.field, "message": problem.message} for problem in self.problems]

    def failure_json(self) -> dict[str, Any]:
        """``failure`` with its ``details``, as ``deployment.rejected`` carries it."""
        return {**Failure(self.code, self.message).as_json(), "details": self.details}


@dataclass(frozen=True, slots=True)
class Parsed:
    """A deploy event that is valid by itself. ``raw`` is its JSON value as it came, ``body_hash`` that of its value."""

    request: DeployRequest
    raw: dict[str, Any]
    body_hash: bytes


def parse_deploy_event(
    body: bytes,
    *,
    max_bytes: int,
    caps: Timeouts,
    namespace: str,
    properties: MessageProperties,
    reply_to_pattern: re.Pattern[str] | None = None,
) -> Parsed | Refusal:
    """Read a deploy event (v1). ``caps`` are the highest timeouts, in seconds; longer ones are cut to them."""
    not_answered = reply_to_problem(properties.reply_to, namespace=namespace, pattern=reply_to_pattern)
    read = _read(body, max_bytes=max_bytes, properties=properties, not_answered=not_answered)
    if isinstance(read, Refusal):
        return read
    event = _validated(DeployEvent, read)
    if isinstance(event, Refusal):
        return event
    if problems := rule_problems(event):
        return _invalid(problems, read.common)
    if problems := limited(host_problems(event)):
        return refusal(FailureCode.TARGETS_UNKNOWN_HOST, problems, read.common)
    return Parsed(deploy_request(event, caps), read.value, body_hash(read.canonical))


def parse_control(
    body: bytes,
    *,
    max_bytes: int,
    namespace: str,
    properties: MessageProperties,
    reply_to_pattern: re.Pattern[str] | None = None,
) -> ControlRequest | LaneRequest | Refusal:
    """Read a control message (v1): its command tells what it is about."""
    not_answered = reply_to_problem(properties.reply_to, namespace=namespace, pattern=reply_to_pattern)
    read = _read(body, max_bytes=max_bytes, properties=properties, not_answered=not_answered)
    if isinstance(read, Refusal):
        return read
    message: ControlMessage | LaneControlMessage | Refusal
    if read.command in LANE_COMMANDS:
        message = _validated(LaneControlMessage, read)
    else:
        message = _validated(ControlMessage, read)
    if isinstance(message, Refusal):
        return message
    if problems := control_problems(message):
        return _invalid(problems, read.common, read.command)
    return _control_request(message)


def _control_request(message: ControlMessage | LaneControlMessage) -> ControlRequest | LaneRequest:
    if isinstance(message, ControlMessage):
        who, why = message.requested_by, message.reason
        return ControlRequest(message.command, message.deployment_id, who, why, message.once)
    return LaneRequest(
        message.command,
        message.application,
        message.environment,
        message.requested_by,
        message.reason,
        None if message.until is None else seconds_of(message.until),
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """A JSON object from somebody who may be answered."""

    value: dict[str, Any]
    canonical: bytes
    common: CommonFields
    command: str | None


def reply_to_problem(reply_to: str | None, *, namespace: str, pattern: re.Pattern[str] | None) -> Problem | None:
    """Why nothing may be sent there; None if it may. ``pattern`` is the setting ``amqp.reply_to_pattern``."""
    if not reply_to:
        return None
    if reply_to.startswith(f"{namespace}."):
        return Problem("reply_to", f"must not begin with {namespace}., which names Vesemir's own queues")
    if pattern is not None and pattern.fullmatch(reply_to) is None:
        return Problem("reply_to", "must match the setting amqp.reply_to_pattern: ask for the form that is allowed")
    return None


def _read(
    body: bytes, *, max_bytes: int, properties: MessageProperties, not_answered: Problem | None
) -> _Read | Refusal:
    if len(body) > max_bytes:
        return _too_large(f"must have at most {max_bytes} bytes, and has {len(body)}")
    try:
        packed = unfolded(body, properties.content_encoding, max_bytes=max_bytes)
    except UnfoldsTooLargeError:
        return _too_large(f"must have at most {max_bytes} bytes when it is unfolded, and has more")
    reading = read_json(body if isinstance(packed, Problem) else packed)
    common, command = _about(reading.value)
    if not_answered is not None:
        return refusal(FailureCode.REQUEST_FORBIDDEN, (not_answered,), common, command)
    unread = (packed,) if isinstance(packed, Problem) else reading.problems
    if problems := (*property_problems(properties), *unread):
        return _invalid(problems, common, command)
    if not isinstance(reading.value, dict):
        return _invalid((Problem(BODY, "must be a JSON object"),), common, command)
    return _Read(reading.value, canonical(reading.value), common, command)


def _too_large(message: str) -> Refusal:
    return refusal(FailureCode.REQUEST_TOO_LARGE, (Problem(BODY, message),), CommonFields())


def _validated(model: type[_Model], read: _Read) -> _Model | Refusal:
    try:
        return model.model_validate_json(read.canonical)
    except ValidationError as error:
        problems = problems_of(model, error)
    # A value that no recipe could take is a wrong parameter like any other.
    only_parameters = all(problem.field.startswith("parameters.") for problem in problems)
    code = FailureCode.REQUEST_INVALID_PARAMETERS if only_parameters else FailureCode.REQUEST_INVALID
    return refusal(code, problems, read.common, read.command)


def _common(value: object) -> CommonFields:
    if not isinstance(value, Mapping):
        return CommonFields()
    return CommonFields(
        **{
            name: text
            for name, pattern in COMMON_PATTERNS.items()
            if isinstance(text := value.get(name), str) and pattern.fullmatch(text)
        }
    )


def _about(value: object) -> tuple[CommonFields, str | None]:
    """What an answer repeats. A command about a lane is about no deployment, whatever the message says."""
    common, command = _common(value), _command(value)
    if command in LANE_COMMANDS:
        common = replace(common, deployment_id=None, version=None)
    return common, command


def _command(value: object) -> str | None:
    given = value.get("command") if isinstance(value, Mapping) else None
    return given if isinstance(given, str) and given in COMMANDS else None


def _invalid(problems: tuple[Problem, ...], common: CommonFields, command: str | None = None) -> Refusal:
    return refusal(FailureCode.REQUEST_INVALID, limited(problems), common, command)


def stored_request(raw: Mapping[str, Any], defaults: Mapping[str, Any] | None, *, caps: Timeouts) -> DeployRequest:
    """The request of a body that was accepted before and comes back from the record, with the defaults of then."""
    return deploy_request(DeployEvent.model_validate_json(canonical(with_defaults(raw, defaults))), caps)


def internal_refusal(body: bytes, error: Exception, *, max_bytes: int, encoding: str | None = None) -> Refusal:
    """For a message that Vesemir itself cannot deal with. Never raises: what cannot be read is left out."""
    try:
        packed = unfolded(body, encoding, max_bytes=max_bytes)
        value = read_json(body if isinstance(packed, Problem) else packed).value
        common, command = _about(value)
    except Exception:  # noqa: BLE001 - reading it may be the very thing that fails
        common, command = CommonFields(), None
    text = (
        f"Vesemir met an error of its own with this message ({type(error).__name__}); a copy is in the rejected queue: "
        "report it, and send it again after an upgrade"
    )
    return Refusal(FailureCode.INTERNAL_ERROR, text, (Problem(BODY, "could not be handled"),), common, command)


def refusal(
    code: FailureCode, problems: tuple[Problem, ...], common: CommonFields, command: str | None = None
) -> Refusal:
    """A refusal whose message tells the first problem; at least one is needed."""
    first = f"{problems[0].field} {problems[0].message}"
    message = first if len(problems) == 1 else f"{len(problems)} problems, all in details; the first: {first}"
    if len(message) > _MESSAGE_LIMIT:
        message = f"{message[: _MESSAGE_LIMIT - 1]}…"
    return Refusal(code, message, problems, common, command)
