"""A complete deploy event for the lab, as an orchestrator would publish it (contract sections 2 and 7)."""

import secrets
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vesemir.lab.artifacts import NEXT_VERSION
from vesemir.lab.documents import BALANCER_GROUP, TARGET_GROUP
from vesemir.lab.places import LabError, Places
from vesemir.shipped import recipes_folder

SCRIPT_RECIPE = "lab-script"
DEFAULT_VERSION = NEXT_VERSION
DEFAULT_RECIPE = "release"
DRAIN_SECONDS = 5

Value = str | int | bool


def deploy_event(
    places: Places,
    lab: Mapping[str, Any],
    *,
    version: str,
    recipe: str,
    given: Sequence[str],
    chef: bool = False,
    plain: bool = False,
) -> dict[str, Any]:
    """The event; ``given`` are ``KEY=VALUE`` texts for the recipe's parameters, ``chef`` has the hosts found by Chef.

    ``plain`` leaves out what the release before refuses as an unknown field.

    Raises ``LabError`` for what the lab does not have.
    """
    if chef and not lab.get("chef"):
        raise LabError("the lab has no Chef server: take it down, and up again with --chef")
    declared = _declared(places, recipe)
    parameters: dict[str, Value] = {}
    own = dict(_parsed(text, recipe, declared) for text in given)
    if recipe == DEFAULT_RECIPE and not {"artifact_url", "artifact_sha256"} <= own.keys():
        parameters |= _artifact(lab, version)
    parameters |= own
    missing = [name for name, of in declared.items() if of.get("required") and name not in parameters]
    if missing:
        options = " ".join(f"--set {name}=…" for name in missing)
        raise LabError(f"the recipe {recipe} needs {', '.join(missing)}: add {options}")
    event: dict[str, Any] = {
        "schema": "vesemir.deploy/1",
        "deployment_id": new_id(),
        "application": lab["application"],
        "environment": lab["environment"],
        "team": "payments",
        "requested_by": "lab",
        "version": version,
        "recipe": recipe,
        "parameters": parameters,
        "targets": _hosts(TARGET_GROUP, lab["environment"] if chef else None),
    }
    if recipe != SCRIPT_RECIPE:
        event["haproxy"] = {
            "targets": _hosts(BALANCER_GROUP, lab["environment"] if chef else None),
            "backend": lab["backend"],
            "server": "{name}",
            "drain_seconds": DRAIN_SECONDS,
        }
    event["rollout"] = {"concurrency": 1} if plain else {"concurrency": 1, "min_healthy_seconds": 0}
    return event


def _hosts(name: str, chef_environment: str | None) -> dict[str, Any]:
    """The hosts of a group, or of the tag of that name in an environment of the Chef server."""
    if chef_environment is None:
        return {"inventory": {"groups": [name]}}
    return {"chef": {"tags": [name], "environment": chef_environment}}


def new_id() -> str:
    """Sorts by time, and is unique without asking anybody."""
    return f"lab-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(5)}"


def _declared(places: Places, recipe: str) -> dict[str, dict[str, Any]]:
    """The parameters that the recipe declares; the lab's own folder comes before the shipped one."""
    folders = (places.within("recipes"), recipes_folder())
    for folder in folders:
        file = folder / f"{recipe}.toml"
        if file.is_file():
            return _parameters(file)
    known = sorted({file.stem for folder in folders for file in folder.glob("*.toml")})
    raise LabError(f"there is no recipe {recipe!r}; there is: {', '.join(known)}")


def _parameters(file: Path) -> dict[str, dict[str, Any]]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8")).get("parameters", {})
    except (OSError, ValueError) as error:
        raise LabError(f"the recipe {file} cannot be read: {error}") from error
    return dict(found)


def _artifact(lab: Mapping[str, Any], version: str) -> dict[str, Value]:
    for artifact in lab["artifacts"]:
        if artifact["version"] == version:
            return {"artifact_url": artifact["url"], "artifact_sha256": artifact["sha256"]}
    known = ", ".join(artifact["version"] for artifact in lab["artifacts"])
    raise LabError(f"the lab has no release {version!r}; it has {known}")


def _parsed(text: str, recipe: str, declared: Mapping[str, Mapping[str, Any]]) -> tuple[str, Value]:
    name, equals, value = text.partition("=")
    if not equals:
        raise LabError(f"--set takes KEY=VALUE, not {text!r}")
    if name not in declared:
        known = ", ".join(declared) or "none"
        raise LabError(f"the recipe {recipe} has no parameter {name!r}; it has {known}")
    kind = declared[name].get("type", "string")
    if kind == "boolean" and value in {"true", "false"}:
        return name, value == "true"
    if kind == "integer" and value.removeprefix("-").isdecimal():
        return name, int(value)
    if kind != "string":
        raise LabError(f"{name} is of type {kind}, which {value!r} is not")
    return name, value
