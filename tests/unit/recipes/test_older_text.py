"""What is recorded of a recipe can be read by the release before: no key that it does not know, the same steps."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from vesemir.adapters.recipes import models
from vesemir.adapters.recipes.older_text import KEYS_SINCE, NUMBERS_SINCE, older_text
from vesemir.adapters.recipes.recipe_file import recipe_of
from vesemir.shipped import recipes_folder

SHIPPED = sorted(recipes_folder().glob("*.toml"))

KEYS_OF_0_1: Mapping[str, frozenset[str]] = {
    "recipe": frozenset({"description", "parameters", "variables", "steps", "rollback"}),
    "parameter": frozenset(
        {
            "type",
            "pattern",
            "required",
            "default",
            "secret",
            "max_length",
            "minimum",
            "maximum",
            "choices",
            "description",
        }
    ),
    "variable": frozenset({"default", "pattern", "required", "description"}),
    "step": frozenset(
        {"name", "command", "script", "put", "fetch", "check", "sudo", "timeout", "retries", "idempotent"}
        | {"environment", "cwd", "failures"}
    ),
    "put": frozenset({"source", "content", "destination", "mode", "owner", "group", "sha256"}),
    "fetch": frozenset({"url", "sha256", "destination", "mode", "owner", "group"}),
    "check": frozenset({"http", "status", "contains", "json", "tcp", "command", "interval", "deadline", "health"}),
}
"""Frozen: what the strict models of release 0.1 (commit e6d4337) take."""
NUMBERS_OF_0_1 = {"check": ("interval", "deadline"), "step": ("timeout",)}
MODELS: Mapping[str, type[BaseModel]] = {
    "recipe": models.RecipeTable,
    "parameter": models.ParameterTable,
    "variable": models.VariableTable,
    "step": models.StepTable,
    "put": models.PutTable,
    "fetch": models.FetchTable,
    "check": models.CheckTable,
}
LISTS_THAT_ARE_NOT_HIDDEN: frozenset[str] = frozenset()
"""An old instance would skip them: it must not be able to read such a recipe."""
SEEN_AS_STEPS = frozenset({"prepare"})


def read_by_0_1(text: str) -> dict[str, Any]:
    """Its strict reading: which keys there are, and that numbers are numbers."""
    recipe = tomllib.loads(text)
    _strict("recipe", recipe)
    for kind in ("parameter", "variable"):
        for table in recipe.get(f"{kind}s", {}).values():
            _strict(kind, table)
    for step in [*recipe["steps"], *recipe.get("rollback", [])]:
        _strict("step", step)
        for kind in ("put", "fetch", "check"):
            if kind in step:
                _strict(kind, step[kind])
    return recipe


def _strict(kind: str, table: Mapping[str, object]) -> None:
    assert set(table) <= KEYS_OF_0_1[kind]
    for name in NUMBERS_OF_0_1.get(kind, ()):
        assert isinstance(table.get(name, 1), int | float)


def names(steps: list[dict[str, Any]]) -> list[str]:
    return [step["name"] for step in steps]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_recipe_is_recorded_as_0_1_can_read_it(file: Path) -> None:
    text = file.read_text()
    recipe, old = recipe_of(file, text), read_by_0_1(older_text(text))
    whole = tomllib.loads(text)
    wanted = [*names(whole.get("prepare", [])), *names(whole["steps"])]
    assert names(old["steps"]) == wanted
    assert len(set(wanted)) == len(wanted)
    assert names(old.get("rollback", [])) == names(whole.get("rollback", []))
    assert recipe_of(file, recipe.older_source or recipe.source).name == recipe.name


_values = st.one_of(st.text(max_size=8), st.integers(0, 9), st.booleans(), st.lists(st.text(max_size=4), max_size=2))
_new_keys = {kind: sorted(table) for kind, table in KEYS_SINCE.items()}


@st.composite
def _steps(draw: st.DrawFn, *, least: int) -> list[dict[str, Any]]:
    steps = []
    for _ in range(draw(st.integers(least, 3))):
        step: dict[str, Any] = {"sudo": draw(st.sampled_from([True, "{root}"])), "timeout": 5}
        step |= draw(_news("step"))
        if draw(st.booleans()):
            deadline = draw(st.sampled_from([3, "{wait}", "{root}", "{unknown_wait}"]))
            step["check"] = {"tcp": "h:1", **draw(_news("check"))}
            if NUMBERS_SINCE["check"]:
                step["check"]["deadline"] = deadline
        else:
            step["script"] = draw(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
        steps.append(step)
    return steps


def _news(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    keys = _new_keys.get(kind, [])
    return st.dictionaries(st.sampled_from(keys), _values) if keys else st.just({})


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    lists = {"steps": draw(_steps(least=1))}
    for name in ("prepare", "rollback"):
        if steps := draw(_steps(least=0)):
            lists[name] = steps
    for number, step in enumerate(step for steps in lists.values() for step in steps):
        step["name"] = f"s{number}"
    variables = {"root": {"default": "/srv", **draw(_news("variable"))}, "wait": {"default": "90"}}
    return {"description": draw(st.text(max_size=5)), "variables": variables, **lists}


@given(recipes())
def test_whatever_a_recipe_has_0_1_reads_the_same_steps(recipe: dict[str, Any]) -> None:
    old = read_by_0_1(older_text(tomli_w.dumps(recipe)))
    steps = [*recipe.get("prepare", []), *recipe["steps"]]
    assert names(old["steps"]) == names(steps)
    assert names(old.get("rollback", [])) == names(recipe.get("rollback", []))
    for before, after in zip(steps, old["steps"], strict=True):
        assert {key: value for key, value in after.items() if key != "check"} == {
            key: value for key, value in before.items() if key in KEYS_OF_0_1["step"] and key != "check"
        }


def test_what_0_1_can_read_is_recorded_byte_for_byte() -> None:
    text = "# ours\n[[steps]]\nname = 'a'   # a comment\nscript = 'true'\r\n"
    assert older_text(text) == text
    assert recipe_of(Path("r.toml"), text).older_source == ""


def test_what_prepare_has_comes_first() -> None:
    text = "[[prepare]]\nname='p'\nscript='p'\n[[steps]]\nname='s'\nscript='s'\n[[prepare]]\nname='q'\nscript='q'"
    assert names(read_by_0_1(older_text(text))["steps"]) == ["p", "q", "s"]


def test_a_placeholder_where_0_1_has_a_number_becomes_what_it_usually_is() -> None:
    """The default of its variable; where there is none, 0.1 has its own."""
    text = (
        "[variables.wait]\ndefault='90'\n[variables.other]\nrequired=true\n"
        "[[steps]]\nname='a'\ncheck={tcp='h:1', deadline='{wait}'}\n"
        "[[steps]]\nname='b'\ncheck={tcp='h:1', deadline='{other}'}\n"
    )
    first, second = tomllib.loads(older_text(text, numbers={"check": {"deadline": "0.2"}}))["steps"]
    assert first["check"]["deadline"] == 90
    assert "deadline" not in second["check"]


@pytest.mark.parametrize("kind", KEYS_OF_0_1)
def test_every_later_key_of_a_recipe_is_in_the_table(kind: str) -> None:
    """A key that is in no table would make each recipe that has it unreadable for the release before."""
    fields = {field.alias or name for name, field in MODELS[kind].model_fields.items()}
    later = fields - KEYS_OF_0_1[kind] - LISTS_THAT_ARE_NOT_HIDDEN - SEEN_AS_STEPS
    assert later == set(KEYS_SINCE.get(kind, {}))
