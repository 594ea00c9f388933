"""Which folder a recipe comes from: what replaces what is announced, seen, and never an accident."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.engine.world import Lines

from vesemir.adapters.recipes import RecipeBook, RecipeFileError, load_recipes, recipe_folders
from vesemir.cli.checks import Finding, findings
from vesemir.settings import RecipesSettings, Settings

RECIPE = 'description = "{}"\n[[steps]]\nname = "one"\ncommand = ["true"]\n'


def folder_with(place: Path, *names: str) -> Path:
    place.mkdir(exist_ok=True)
    for name in names:
        (place / f"{name}.toml").write_text(RECIPE.format(place.name))
    return place


def book_of(*folders: Any, log: Lines | None = None) -> RecipeBook:
    return RecipeBook(recipe_folders(RecipesSettings.model_validate({"folders": folders})), log=log)


def replacing(file: Path) -> str:
    return f"{file} replaces "


def test_a_replacement_that_is_not_announced_works_with_a_warning(tmp_path: Path) -> None:
    """It silently replaced ``release`` for everybody. Told once, and again when it was away in between."""
    folder, log = folder_with(tmp_path / "team", "release", "mine"), Lines()
    book = book_of(str(folder), log=log)
    assert book.get("release") is not None
    assert book.get("release").description == "team"  # type: ignore[union-attr] # asserted above
    (warning,) = log.of("warning")
    assert warning.startswith(replacing(folder / "release.toml"))
    assert f'{{ path = "{folder}", override = ["release"] }}' in warning
    (folder / "mine.toml").write_text(RECIPE.format("another"))
    book.refresh()
    assert len(log.of("warning")) == 1
    (folder / "release.toml").unlink()
    book.refresh()
    (folder / "release.toml").write_text(RECIPE.format("team"))
    book.refresh()
    assert len(log.of("warning")) == 2


@pytest.mark.parametrize(
    ("override", "warned"), [(True, []), (["release"], []), (["package"], ["release"]), (False, ["release"])]
)
def test_a_replacement_is_announced_by_its_folder(tmp_path: Path, override: object, warned: list[str]) -> None:
    folder, log = folder_with(tmp_path / "team", "release", "mine"), Lines()
    book = book_of({"path": str(folder), "override": override}, log=log)
    assert [place.name for place in book.places if place.warning] == warned
    assert len(log.of("warning")) == len(warned)


def test_the_last_folder_must_announce_what_it_hides(tmp_path: Path) -> None:
    one, two = (folder_with(tmp_path / name, "mine") for name in ("one", "two"))
    book = book_of(str(one), {"path": str(two), "override": ["mine"]})
    (place,) = [place for place in book.places if place.name == "mine"]
    assert (place.file, place.hides, place.warning) == (two / "mine.toml", (one / "mine.toml",), "")


def test_a_broken_file_takes_a_name_away_and_is_warned_of_too(tmp_path: Path) -> None:
    folder, log = folder_with(tmp_path / "team"), Lines()
    (folder / "release.toml").write_text("x")
    assert book_of(str(folder), log=log).get("release") is None
    assert [line.startswith(replacing(folder / "release.toml")) for line in log.of("warning")] == [True]


def test_a_prefix_keeps_a_folder_to_names_of_its_own(tmp_path: Path) -> None:
    """A file with another name is an error, and does not replace anything."""
    folder, log = folder_with(tmp_path / "team", "release", "pay-release"), Lines()
    table = {"path": str(folder), "prefix": "pay-"}
    book = book_of(table, log=log)
    assert "pay-release" in book.names
    assert book.get("release") is not None
    assert book.get("release").description != "team"  # type: ignore[union-attr] # asserted above
    assert book.problem == (
        f"{folder / 'release.toml'}: its name must begin with pay- (prefix of its folder in recipes.folders)"
    )
    assert log.of("warning") == []
    with pytest.raises(RecipeFileError, match="must begin with pay-"):
        load_recipes(recipe_folders(RecipesSettings.model_validate({"folders": [table]})))
    (folder / "release.toml").unlink()
    book.refresh()
    assert book.problem == ""


@pytest.mark.parametrize("table", [{}, {"path": "/a", "overide": True}, {"path": "/a", "prefix": "Pay"}, 3])
def test_a_folder_is_a_path_or_a_table(table: object) -> None:
    with pytest.raises(ValueError, match=r"folders\.0"):
        RecipesSettings.model_validate({"folders": [table]})


def test_folders_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("VESEMIR_RECIPES__FOLDERS", '["/a", {"path": "/b", "override": true, "prefix": "b-"}]')
    monkeypatch.setenv("VESEMIR_RECIPES__SUDO_FOLDERS", '["/b"]')
    _, one, two = recipe_folders(Settings().recipes)
    assert (one.path, one.sudo, one.override, one.prefix) == (Path("/a"), False, frozenset(), "")
    assert (two.path, two.sudo, two.override, two.prefix) == (Path("/b"), True, None, "b-")


def test_check_lists_every_recipe_with_its_folder_and_what_it_hides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, two = folder_with(tmp_path / "one", "mine", "release"), folder_with(tmp_path / "two", "mine")
    (tmp_path / "vesemir.toml").write_text("")
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "vesemir.toml"))
    tables = [str(one), {"path": str(two), "override": True}]
    monkeypatch.setenv("VESEMIR_RECIPES__FOLDERS", json.dumps(tables))
    _, *found = itertools.islice(findings(), 6)
    assert found[:4] == [
        Finding("recipes", ok=True, detail=detail)
        for detail in (
            "5 recipes: chef-client, mine, package, release, vesemir",
            "the shipped recipes: chef-client, package, vesemir",
            f"{one}: release (hides that of the shipped recipes)",
            f"{two}: mine (hides that of {one})",
        )
    ]
    assert found[4].detail.startswith(f"warning: {one / 'release.toml'} replaces ")
