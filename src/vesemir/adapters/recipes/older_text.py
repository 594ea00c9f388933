"""A recipe's text as the release before reads it: what is recorded for an instance of it that takes a deployment over.

That release refuses a key that it does not know, and would then give the deployment up. So every key that it does not
know is left out, and the steps of ``prepare`` stand at the head of ``steps``: it does them, or finds them done by their
names. A list that it must not skip (steps that run once) is not hidden like this.
"""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w

from vesemir.domain.template import Template

Table = dict[str, Any]

KEYS_SINCE: Mapping[str, Mapping[str, str]] = {
    "recipe": {"plan": "0.2"},  # that release's dry run logs in, and looks no further
    "step": {"on_failure_show": "0.2"},
    "check": {"stable_seconds": "0.2"},
    "variable": {"trusted": "0.2"},  # judged before the deployment begins
}
"""Keys that the release before does not know: by table, each with the release that brought it. A key goes from here
when no instance of a release before that one can run any more."""

NUMBERS_SINCE: Mapping[str, Mapping[str, str]] = {
    "check": {"deadline": "0.2"},
}
"""Keys that were plain numbers before they took a placeholder, likewise."""

_STEP_LISTS = ("steps", "rollback")


def older_text(
    text: str,
    *,
    keys: Mapping[str, Mapping[str, str]] = KEYS_SINCE,
    numbers: Mapping[str, Mapping[str, str]] = NUMBERS_SINCE,
) -> str:
    """``text``, which is sound, for the release before; the same text if there is nothing new in it."""
    table, before = tomllib.loads(text), tomllib.loads(text)
    prepare = table.pop("prepare", [])
    if prepare:
        table["steps"] = [*prepare, *table["steps"]]
    for kind, found in _tables(table):
        for key in keys.get(kind, {}):
            found.pop(key, None)
        for key in numbers.get(kind, {}):
            if isinstance(value := found.get(key), str):
                _set_number(found, key, _usual_number(value, table))
    return text if table == before else tomli_w.dumps(table)


def _tables(recipe: Table) -> Iterator[tuple[str, Table]]:
    """Every table that may have a key of its own, with its kind."""
    yield "recipe", recipe
    for name in _STEP_LISTS:
        for step in recipe.get(name, []):
            yield "step", step
            for kind in ("check", "fetch", "put"):
                if kind in step:
                    yield kind, step[kind]
    for name, kind in (("parameters", "parameter"), ("variables", "variable")):
        for each in recipe.get(name, {}).values():
            yield kind, each


def _set_number(table: Table, key: str, value: float | None) -> None:
    if value is None:
        del table[key]
    else:
        table[key] = value


def _usual_number(text: str, recipe: Table) -> float | None:
    """What a placeholder stands for where nothing else is said: the default of its variable or parameter.

    None where there is none: that release's own default then holds.
    """
    usual: dict[str, str] = {}
    for name, given in (recipe.get("parameters", {}) | recipe.get("variables", {})).items():
        if "default" in given:
            usual[name] = str(given["default"])
    template = Template.parse(text)
    try:
        return float(template.render(usual))
    except (KeyError, ValueError):
        return None
