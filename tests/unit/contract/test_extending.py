"""What is added is also described: settings, tables, commands and shipped recipes (docs/extending.md)."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from vesemir.adapters.recipes.models import StepTable
from vesemir.cli.program import COMMANDS
from vesemir.settings import Settings
from vesemir.shipped import recipes_folder, sql_folder

ROOT = Path(__file__).resolve().parents[3]
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def settings_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        for part in models_in(field.annotation):
            yield from settings_of(part, f"{path}{name}.")


@pytest.mark.parametrize("path", sorted(set(settings_of(Settings))))
def test_every_setting_is_in_the_commented_example(path: str) -> None:
    """Those of Chef servers, which are many, may stand in docs/inventory.md; a ``token`` is one with ``token_file``."""
    described = text_of("config/vesemir.toml")
    if path.startswith("inventory."):
        described += text_of("docs/inventory.md")
    name = path.rpartition(".")[2]
    assert re.search(rf"\b{name}(_file)?\b", described), f"{path} stands in no example and in no document"


def test_every_table_is_described() -> None:
    migrations = "\n".join(file.read_text(encoding="utf-8") for file in (sql_folder() / "migrations").glob("*.sql"))
    tables = re.findall(r"^CREATE (?:UNLOGGED )?TABLE (\w+)", migrations, re.MULTILINE)
    described = re.findall(r"^\| `(\w+)` \|", text_of("docs/database.md"), re.MULTILINE)
    assert len(tables) > 5
    assert set(tables) <= set(described)


def test_every_command_is_in_the_readme() -> None:
    table = text_of("README.md").partition("## Commands")[2].partition("\n## ")[0]
    listed = {name for line in table.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    assert set(COMMANDS) <= listed


def test_every_shipped_recipe_is_in_the_document() -> None:
    shipped = text_of("docs/recipes.md").partition("\n## ")[0]
    for file in recipes_folder().glob("*.toml"):
        assert f"`{file.stem}`" in shipped, f"docs/recipes.md does not name {file.stem} as a shipped recipe"


@pytest.mark.parametrize("key", list(StepTable.model_fields))
def test_every_key_of_a_step_is_described(key: str) -> None:
    part = text_of("docs/recipes.md")
    assert re.search(rf"`{key}( = [^`]*)?`", part), f"docs/recipes.md does not say what {key} of a step is"


def test_every_adapter_is_kept_apart_from_the_others() -> None:
    """The linter looks only at those that its contract lists."""
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (listed,) = [set(contract["modules"]) for contract in contracts if contract["type"] == "independence"]
    folders = {file.parent.name for file in (ROOT / "src" / "vesemir" / "adapters").glob("*/__init__.py")}
    assert {f"vesemir.adapters.{name}" for name in folders} <= listed


def test_tests_that_the_document_names_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`: ((?:`test_\w+`(?:, )?)+)", EXTENDING)
    assert len(named) > 10
    for file, tests in named:
        for test in re.findall(r"\w+", tests):
            assert f"def {test}(" in text_of(file), f"docs/extending.md: {file} has no {test}"
