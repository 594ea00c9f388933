"""From pydantic's errors to problems that a requester can mend: one sentence per field that says what is allowed.

The value itself is never repeated: it may be a secret, and it may be long.
"""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from vesemir.contract.json_body import BODY, join
from vesemir.domain.problem import Problem

MAX_PROBLEMS = 50
"""More are not reported one by one: nobody reads them, and the answer has to stay small."""

PARAMETER_SAYS = "text, a whole number of at most 64 bits, true or false"


def problems_of(model: type[BaseModel], error: ValidationError) -> tuple[Problem, ...]:
    """Every field once, in the order of the model."""
    found: dict[str, Problem] = {}
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        problem = _problem(model, entry["loc"], entry["type"])
        found.setdefault(problem.field, problem)
    return limited(found.values())


def limited(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """At most ``MAX_PROBLEMS``, and one line that says how many more there are."""
    every = tuple(problems)
    if len(every) <= MAX_PROBLEMS:
        return every
    return (*every[:MAX_PROBLEMS], Problem(BODY, f"has {len(every) - MAX_PROBLEMS} more problems"))


def _problem(model: type[BaseModel], location: tuple[str | int, ...], kind: str) -> Problem:
    if not location:
        return Problem(BODY, "must be a JSON object")
    path, owner, says = _place(model, location)
    if kind == "extra_forbidden":
        return Problem(path, f"is not a field of this message{_suggestion(owner, str(location[-1]))}")
    if kind == "missing":
        return Problem(path, f"is required and must be {says}")
    return Problem(path, f"must be {says}")


def _place(model: type[BaseModel], location: tuple[str | int, ...]) -> tuple[str, type[BaseModel], str]:
    """The path as the requester knows it, the model that the last name belongs to, and what that field allows.

    pydantic's location also names the branches of unions; the walk ends where the models end.
    """
    path, says, owner = "", "", model
    inner: type[BaseModel] | None = model
    for part in location:
        if inner is None:
            break
        owner = inner
        path = join(path, part)
        field = _field(inner, str(part))
        if field is None:
            break
        says = field.description or "valid"
        inner = next(_models(field.annotation), None)
        if inner is None:
            return _member(path, says, field.annotation, location[location.index(part) + 1 :], owner)
    return path, owner, says


def _member(
    path: str,
    says: str,
    annotation: Any,  # noqa: ANN401 - any annotation
    rest: tuple[str | int, ...],
    owner: type[BaseModel],
) -> tuple[str, type[BaseModel], str]:
    """One level into a list or into the parameters."""
    if rest and isinstance(rest[0], int) and _is_list(annotation):
        # A list's description ends in what each member may be.
        return join(path, rest[0]), owner, says.rpartition("each ")[2]
    if rest and typing.get_origin(annotation) is dict:
        return join(path, str(rest[0])), owner, PARAMETER_SAYS
    return path, owner, says


def _is_list(annotation: Any) -> bool:  # noqa: ANN401 - any annotation
    return any(typing.get_origin(branch) is list for branch in _branches(annotation))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    for branch in _branches(annotation):
        if isinstance(branch, type) and issubclass(branch, BaseModel):
            yield branch


def _branches(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - any annotation
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _branches(typing.get_args(annotation)[0])
    elif origin is typing.Union or origin is types.UnionType:
        for branch in typing.get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def _wire_names(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _field(model: type[BaseModel], name: str) -> FieldInfo | None:
    return _wire_names(model).get(name)


def _suggestion(model: type[BaseModel], name: str) -> str:
    known = list(_wire_names(model))
    close = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else f"; allowed are {', '.join(known)}"
