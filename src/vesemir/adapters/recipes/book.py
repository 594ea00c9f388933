"""Reading the folders of recipes, all of them before the first deployment, and telling every broken file at once."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from vesemir.adapters.recipes.building import RecipeBuilder
from vesemir.adapters.recipes.models import RecipeTable
from vesemir.adapters.toml_lines import key_lines, line_of, path_text, reason_of, syntax_line
from vesemir.domain.failure import VesemirError
from vesemir.domain.recipe import RECIPE_NAME, Recipe


@dataclass(frozen=True, slots=True)
class RecipeProblem:
    """What is wrong in which file, and on which line where there is one."""

    file: Path
    line: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}" if self.line is None else f"{self.file}:{self.line}: {self.reason}"


class RecipeFileError(VesemirError):
    """Recipe files that cannot be used; ``problems`` has all of them."""

    def __init__(self, problems: Sequence[RecipeProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class RecipeBook:
    """The recipes by name (the port ``vesemir.engine.recipes.Recipes``)."""

    def __init__(self, recipes: Mapping[str, Recipe]) -> None:
        self._recipes = dict(sorted(recipes.items()))

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._recipes)

    def get(self, name: str) -> Recipe | None:
        return self._recipes.get(name)


def load_recipes(folders: Sequence[Path]) -> RecipeBook:
    """Every ``*.toml`` of the folders; a later folder's recipe wins over an earlier one of the same name.

    Raises ``RecipeFileError`` with the problems of all files, also of those that a later folder overrides.
    """
    recipes: dict[str, Recipe] = {}
    problems: list[RecipeProblem] = []
    for folder in folders:
        if not folder.is_dir():
            problems.append(RecipeProblem(folder, None, "is no folder; check recipes.folders in the settings"))
            continue
        for file in sorted(folder.glob("*.toml")):
            loaded = _load(file)
            if isinstance(loaded, Recipe):
                recipes[loaded.name] = loaded
            else:
                problems.extend(loaded)
    if problems:
        raise RecipeFileError(problems)
    return RecipeBook(recipes)


def _load(file: Path) -> Recipe | list[RecipeProblem]:
    if RECIPE_NAME.fullmatch(file.stem) is None:
        return [RecipeProblem(file, None, f"the file's name must match {RECIPE_NAME.pattern} before .toml")]
    try:
        text = file.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        return [RecipeProblem(file, None, f"cannot be read: {error.strerror}; check its owner and mode")]
    except UnicodeDecodeError as error:
        return [RecipeProblem(file, error.object[: error.start].count(b"\n") + 1, "is not UTF-8 text")]
    except tomllib.TOMLDecodeError as error:
        return [RecipeProblem(file, syntax_line(str(error)), f"is no TOML: {error}")]
    lines = key_lines(text)
    try:
        builder = RecipeBuilder(file.stem, RecipeTable.model_validate(table))
    except ValidationError as error:
        found = [(detail["loc"], reason_of(detail)) for detail in error.errors(include_url=False)]
    else:
        recipe = builder.build()
        if not builder.problems:
            return recipe
        found = builder.problems
    return [RecipeProblem(file, line_of(lines, path), f"{path_text(path)}: {reason}") for path, reason in found]
