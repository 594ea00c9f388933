"""Secret parameters in the record: shown as ``•••``, kept sealed until the deployment has ended, then forgotten.

They have to be kept, because another instance may have to go on with the deployment. Who reads the database without
the key of the settings (``secrets.key_file``) learns nothing from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from vesemir.domain.failure import Failure, FailureCode, VesemirError
from vesemir.domain.hiding import HIDDEN, passwords_in, told_by_name
from vesemir.domain.problem import Problem
from vesemir.domain.recipe import ParameterValue, Recipe, as_text, secret_texts
from vesemir.domain.request import DeployRequest
from vesemir.engine.ports.records import DeploymentRecord, Json


class UnsealableError(VesemirError):
    """Sealed with a key that is not among this instance's, or not what was sealed."""


class Seal(Protocol):
    """``deployment_id`` is part of what is sealed: one deployment's secrets cannot be given to another."""

    def close(self, deployment_id: str, values: Mapping[str, ParameterValue]) -> bytes: ...

    def open(self, deployment_id: str, sealed: bytes) -> dict[str, ParameterValue]:
        """Raises ``UnsealableError``."""
        ...


@dataclass(frozen=True, slots=True)
class Secrecy:
    """``seal`` is None where the settings name no key; ``redact`` takes out what is secret by its form."""

    redact: Callable[[str], str]
    seal: Seal | None = None

    def names(self, recipe: Recipe, given: Mapping[str, ParameterValue]) -> frozenset[str]:
        """The parameters whose values are not for everybody: marked in the recipe, or a password stands in them."""
        return frozenset(
            name
            for name, value in given.items()
            if (name in recipe.parameters and recipe.parameters[name].secret and as_text(value))
            or (isinstance(value, str) and self.redact(value) != value)
        )

    def refuse(self, recipe: Recipe, given: Mapping[str, ParameterValue]) -> list[Problem]:
        """What cannot be kept here, without its value."""
        if self.seal is not None:
            return []
        text = "holds a secret, and this service has no key to store it with: set secrets.key_file in its settings"
        return [Problem(f"parameters.{name}", text) for name in sorted(self.names(recipe, given))]

    def kept(
        self, deployment_id: str, raw: Json, *, recipe: Recipe, given: Mapping[str, ParameterValue]
    ) -> tuple[Json, bytes | None]:
        """(the request as everybody may see it, what is sealed of it)."""
        request = dict(raw)
        if isinstance(request.get("requested_by"), str):
            request["requested_by"] = self.redact(request["requested_by"])
        if request.get("break_glass") is not None:
            # Cut: it is read again as a request, and what hides a secret may be longer than that.
            request["break_glass"] = {"reason": self.redact(request["break_glass"]["reason"])[:REASON_CHARACTERS]}
        names = self.names(recipe, given)
        if not names or self.seal is None:
            return request, None
        request["parameters"] = {name: HIDDEN if name in names else value for name, value in given.items()}
        return request, self.seal.close(deployment_id, {name: given[name] for name in names})


REASON_CHARACTERS = 1024


def opened(record: DeploymentRecord, seal: Seal | None) -> Json:
    """The request as it came. Raises ``UnsealableError``, in words for the operator."""
    if record.sealed is None:
        return record.request
    if seal is None:
        raise UnsealableError("its secret parameters are sealed, and this instance has no secrets.key_file")
    values = seal.open(record.deployment_id, record.sealed)
    return {**record.request, "parameters": {**record.request["parameters"], **values}}


def secrets_of(recipe: Recipe, request: DeployRequest, *, shown: Json) -> set[str]:
    """The texts that must not show while it runs: what the recipe or the record hides, and passwords in addresses.

    ``shown`` is the request as the record shows it.
    """
    given = request.parameters
    recorded = shown.get("parameters", {}).items()
    sealed = {value for name, text in recorded if is_placeholder(text) and isinstance(value := given.get(name), str)}
    passwords = {found for value in given.values() if isinstance(value, str) for found in passwords_in(value)}
    return {*secret_texts(recipe, given), *sealed, *passwords}


def secrets_unreadable(error: UnsealableError) -> Failure:
    text = f"{error}; give all instances the same keys, then deploy again under a new id"
    return Failure(FailureCode.REQUEST_SECRETS_UNREADABLE, text)


def storable_texts(recipe: Recipe, redact: Callable[[str], str]) -> tuple[str, str]:
    """The recipe's text for the record: (as the release before reads it, the whole of it if that is another).

    Both are empty where a secret stands in it: an instance that takes over then uses its own copy.
    """
    literals = (
        (name, part)
        for steps in recipe.lists.values()
        for step in steps
        for name, template in step.environment.items()
        for part in template.parts
        if isinstance(part, str)
    )
    secret = any(told_by_name(name, part) for name, part in literals) or secret_texts(recipe, {})
    texts = (recipe.older_source, recipe.source) if recipe.older_source else (recipe.source, "")
    return ("", "") if secret or any(redact(text) != text for text in texts) else texts


def is_placeholder(value: object) -> bool:
    """Somebody copied a request out of the record, where its secrets do not stand."""
    return value == HIDDEN
