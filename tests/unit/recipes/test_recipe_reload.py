"""Folders of recipes while the program runs: changes are taken up, broken ones keep what was good before."""

import os
import shutil
from pathlib import Path

import pytest
from tests.unit.engine.world import Lines

from vesemir.adapters.recipes import RecipeBook, RecipeFileError, RecipeFolder, load_recipes, recipe_folders
from vesemir.adapters.reloaded_files import FileWatch
from vesemir.domain.recipe import Recipe
from vesemir.engine.upkeep.health import HealthRegistry, PartState
from vesemir.settings import RecipesSettings
from vesemir.shipped import recipes_folder

STEP = '[[steps]]\nname = "one"\ncommand = ["true"]\n'


NO_TOML = "is no TOML: Invalid statement (at line 1, column 1)"


def write(file: Path, text: str) -> None:
    """As a new file that takes the place of the old one."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, file)  # noqa: PTH105 - what it is about


def said(description: str) -> str:
    return f"description = '{description}'\n{STEP}"


def of(book: RecipeBook, name: str = "mine") -> str | None:
    recipe = book.get(name)
    return None if recipe is None else recipe.description


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "mine.toml", said("one"))
    write(tmp_path / "other.toml", said("other"))
    return tmp_path


def test_a_changed_file_is_read_again_and_the_others_stay(folder: Path) -> None:
    log = Lines()
    book = RecipeBook([RecipeFolder(folder)], log=log)
    other = book.get("other")
    book.refresh()
    assert log.lines == []
    write(folder / "mine.toml", said("two"))
    assert of(book) == "one"
    book.refresh()
    assert (of(book), book.get("other") is other) == ("two", True)
    assert log.of("info") == ["recipes were read again: mine"]


def test_files_may_come_and_go(folder: Path) -> None:
    book = RecipeBook([RecipeFolder(folder)])
    write(folder / "new.toml", said("new"))
    (folder / "other.toml").unlink()
    book.refresh()
    assert book.names == ("mine", "new")


def test_a_broken_change_keeps_the_last_good_version_and_everything_else_works(folder: Path) -> None:
    log = Lines()
    book = RecipeBook([RecipeFolder(folder)], log=log)
    write(folder / "mine.toml", said("two") + "idempotant = true\n")
    write(folder / "other.toml", said("another"))
    for _ in range(3):
        book.refresh()
    assert (of(book), of(book, "other")) == ("one", "another")
    assert book.problem == f"{folder / 'mine.toml'}:5: steps[0].idempotant: unknown key; check its spelling"
    assert len(log.of("error")) == 1
    write(folder / "mine.toml", said("three"))
    book.refresh()
    assert (of(book), book.problem) == ("three", "")


def test_a_file_that_was_never_good_has_no_recipe_and_the_others_work(folder: Path) -> None:
    write(folder / "bad.toml", "= 1")
    book = RecipeBook([RecipeFolder(folder)])
    assert book.names == ("mine", "other")
    assert "bad.toml:1: is no TOML" in book.problem


def test_a_broken_override_is_not_replaced_by_what_it_was_to_override(tmp_path: Path) -> None:
    """Something else would be done under its name."""
    write(tmp_path / "release.toml", "x")
    book = RecipeBook([RecipeFolder(recipes_folder()), RecipeFolder(tmp_path)])
    assert book.get("release") is None
    assert "release" not in book.names
    assert "package" in book.names
    (tmp_path / "release.toml").unlink()
    book.refresh()
    assert book.get("release") is not None


def test_a_folder_that_is_away_for_a_moment_takes_nothing_along(folder: Path, tmp_path: Path) -> None:
    team = tmp_path / "team"
    shutil.copytree(folder, team, ignore=shutil.ignore_patterns("team"))
    book = RecipeBook([RecipeFolder(team)])
    team.rename(tmp_path / "elsewhere")
    book.refresh()
    assert (book.names, book.problem) == (
        ("mine", "other"),
        f"{team}: is no folder; check recipes.folders in the settings",
    )
    (tmp_path / "elsewhere").rename(team)
    book.refresh()
    assert (book.names, book.problem) == (("mine", "other"), "")


def test_a_recipe_is_made_again_from_its_recorded_text(folder: Path) -> None:
    book = RecipeBook([RecipeFolder(folder)])
    recipe = book.get("mine")
    assert isinstance(recipe, Recipe)
    write(folder / "mine.toml", said("two"))
    book.refresh()
    assert book.recorded("mine", recipe.source) == recipe
    assert book.recorded("mine", "[[steps]]\nname = 'of a later version'\nteleport = true") is None


SUDO = STEP + "sudo = true\n"


@pytest.mark.parametrize(
    "text",
    [
        SUDO,
        STEP + '[[rollback]]\nname = "back"\ncommand = ["true"]\nsudo = "{sudo}"\n[variables.sudo]\ndefault = "false"',
    ],
)
def test_a_folder_without_the_right_to_sudo(folder: Path, text: str) -> None:
    write(folder / "mine.toml", text)
    allowed = RecipeBook([RecipeFolder(folder)])
    assert allowed.problem == ""
    with pytest.raises(RecipeFileError, match=r"mine\.toml:.*\.sudo: recipes of this folder may not use sudo"):
        load_recipes([RecipeFolder(folder, sudo=False)])


def test_which_folders_may_sudo_is_a_setting(folder: Path) -> None:
    settings = RecipesSettings(folders=(folder, folder / "b"))
    assert [each.sudo for each in recipe_folders(settings)] == [True, True, True]
    settings = RecipesSettings(folders=(folder, folder / "b"), sudo_folders=(folder / "b",))
    assert [each.sudo for each in recipe_folders(settings)] == [True, False, True]
    with pytest.raises(ValueError, match=r"not among recipes\.folders"):
        RecipesSettings(folders=(folder,), sudo_folders=(folder / "b",))


def test_a_file_that_cannot_be_read_is_told(folder: Path) -> None:
    (folder / "mine.toml").unlink()
    (folder / "mine.toml").symlink_to(folder / "nowhere")
    book = RecipeBook([RecipeFolder(folder)])
    assert (
        book.problem == f"{folder / 'mine.toml'}: cannot be read: No such file or directory; check its owner and mode"
    )
    assert book.names == ("other",)


async def test_what_is_wrong_is_shown_in_the_health_until_it_is_mended(folder: Path) -> None:
    """The instance goes on taking work."""
    book, health = RecipeBook([RecipeFolder(folder)]), HealthRegistry()
    shown: list[tuple[bool, str]] = []

    class Told:
        """Breaks the file at the first look, mends it at the second, and ends the watch at the third."""

        problem = ""

        def refresh(self) -> None:
            (part,) = [part for part in health.parts if part.name == "recipes"]
            shown.append((part.state is PartState.UP, part.detail))
            if len(shown) == 3:
                raise EOFError
            write(folder / "mine.toml", "= 1" if len(shown) == 1 else said("two"))

    with pytest.raises(EOFError):
        await FileWatch({"recipes": book, "told": Told()}, health, log=Lines(), every=0).run()
    assert shown == [(True, ""), (False, f"{folder / 'mine.toml'}:1: {NO_TOML}"), (True, "")]
    assert all(not part.required for part in health.parts)
