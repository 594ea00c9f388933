"""What a deployment asks for, as its record tells: the request with its secrets, its recipe, and what is in the way."""

from collections.abc import Callable
from dataclasses import dataclass

from vesemir.domain.failure import Failure
from vesemir.domain.hiding import Hiding
from vesemir.domain.recipe import Recipe
from vesemir.domain.request import DeployRequest
from vesemir.engine.deployment.failures import unknown_recipe
from vesemir.engine.ownership.secret_parameters import UnsealableError, opened, secrets_of, secrets_unreadable
from vesemir.engine.ports.records import DeploymentRecord, Json
from vesemir.engine.target.context import Ports


@dataclass(frozen=True, slots=True)
class Asked:
    """``hopeless`` is why nothing more can be done for it but to put right what is in work."""

    request: DeployRequest
    recipe: Recipe
    hopeless: Failure | None


def asked_for(
    record: DeploymentRecord, *, ports: Ports, read_request: Callable[[Json], DeployRequest], redact: Hiding
) -> Asked:
    """Its secrets are hidden from now on."""
    hopeless = None
    try:
        request = read_request(opened(record, ports.seal))
    except UnsealableError as error:
        request, hopeless = read_request(record.request), secrets_unreadable(error)
    known = _recipe(record, request, ports)
    recipe = known or Recipe(request.recipe)
    if known is None:
        hopeless = unknown_recipe(request.recipe, recorded=record.recipe_source is not None)
    redact.add(secrets_of(recipe, request, shown=record.request))
    return Asked(request, recipe, hopeless)


def _recipe(record: DeploymentRecord, request: DeployRequest, ports: Ports) -> Recipe | None:
    """What has begun goes on with the recipe that it began with, whatever the folders hold by now."""
    if record.recipe_source is not None:
        return ports.recipes.recorded(request.recipe, record.recipe_source)
    return ports.recipes.get(request.recipe)
