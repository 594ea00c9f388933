"""Files that no person wrote: an error that names the file, never one that ends whoever reads it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vesemir.adapters.inventory import InventoryFileError
from vesemir.adapters.inventory.static import read_inventory
from vesemir.adapters.policy import read_policy
from vesemir.adapters.policy.file import PolicyFileError
from vesemir.adapters.recipes import RecipeFileError
from vesemir.adapters.recipes.recipe_file import read_recipe

Read = Callable[[Path], object]
DIGITS, DEEP = "9" * 5000, "[" * 1500 + "]" * 1500


@pytest.mark.parametrize("value", [DIGITS, DEEP], ids=["digits", "deep"])
@pytest.mark.parametrize(
    ("read", "error", "key"),
    [
        (read_inventory, InventoryFileError, "all.variables.a"),
        (read_policy, PolicyFileError, "contact"),
        (read_recipe, RecipeFileError, "description"),
    ],
)
def test_toml(tmp_path: Path, read: Read, error: type[Exception], key: str, value: str) -> None:
    file = tmp_path / "absurd.toml"
    file.write_text(f"{key} = {value}\n")
    with pytest.raises(error, match=rf"{file}.* is no TOML: (a value cannot be read|it is nested too deeply)"):
        read(file)


@pytest.mark.parametrize("value", [DIGITS, DEEP, "1979-05-27T07:32:00+99:99", r'"\ud800"'])
@pytest.mark.parametrize("key", ["variables", "vars"])
def test_yaml(tmp_path: Path, key: str, value: str) -> None:
    file = tmp_path / "absurd.yaml"
    file.write_text(f"all:\n  {key}:\n    a: {value}\n")
    with pytest.raises(InventoryFileError, match=f"{file}.*: "):
        read_inventory(file)


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\ufffe"])
def test_a_character_that_yaml_does_not_allow(tmp_path: Path, character: str) -> None:
    """It was an error of PyYAML's own: a file that was half written ended whoever looked at it again."""
    file = tmp_path / "absurd.yaml"
    file.write_text(f"all:\n  hosts: # {character}\n")
    with pytest.raises(InventoryFileError, match=rf"{file}:2: has a character that YAML does not allow"):
        read_inventory(file)
