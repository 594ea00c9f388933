"""What a recipe's placeholders stand for on one target: the request's fields, its parameters, the host's variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vesemir.domain.action import USUAL_LIMITS, ArtifactLimits
from vesemir.domain.failure import VesemirError
from vesemir.domain.recipe import ParameterValue, Recipe, as_text, refuse_value
from vesemir.domain.target import Target
from vesemir.domain.template import Template


class RenderError(VesemirError):
    """A recipe cannot be rendered for a target, usually since the inventory lacks a variable; says where to set it."""


@dataclass(frozen=True, slots=True)
class RenderScope:
    """What placeholders stand for. ``step_seconds`` is the request's ``timeouts.step``."""

    application: str
    environment: str
    version: str
    deployment_id: str
    target: Target
    team: str = ""
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict, repr=False)
    step_seconds: float = 300.0
    output_limit: int = 256 * 1024
    artifacts: ArtifactLimits = USUAL_LIMITS


def request_values(recipe: Recipe, scope: RenderScope) -> dict[str, str]:
    return {
        "application": scope.application,
        "environment": scope.environment,
        "team": scope.team,
        "version": scope.version,
        "deployment_id": scope.deployment_id,
        "recipe": recipe.name,
    }


def parameter_values(recipe: Recipe, scope: RenderScope, request: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, parameter in recipe.parameters.items():
        value = scope.parameters.get(name, parameter.default)
        if isinstance(value, Template):
            value = value.render(request)
            if reason := refuse_value(parameter, value):
                raise RenderError(
                    f"parameter {name} of recipe {recipe.name} was not given, and its default {reason}: give it"
                )
        if value is None:
            raise RenderError(f"parameter {name} of recipe {recipe.name} is required and was not given")
        values[name] = as_text(value)
    return values


def variable_values(recipe: Recipe, target: Target, known: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    reasons: list[str] = []
    for name, variable in recipe.variables.items():
        value = target.variables.get(name)
        if value is None and variable.default is not None:
            value = variable.default.render(known)
        if value is None:
            reasons.append(f"{target.name} has no variable {name}")
        elif "\0" in value or (variable.pattern is not None and re.fullmatch(variable.pattern, value) is None):
            reasons.append(f"variable {name} of {target.name} must match {variable.pattern or 'text without NUL'}")
        else:
            values[name] = value
    if reasons:
        raise RenderError(
            f"recipe {recipe.name}: {'; '.join(reasons)}. Set it in the inventory: in a static inventory under "
            f"[hosts.{target.name}.variables], in a group's variables or in [all.variables]"
        )
    return values
