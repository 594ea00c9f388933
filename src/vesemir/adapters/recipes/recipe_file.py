"""One recipe from one text, or everything that is wrong with it."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from vesemir.adapters.recipes.models import RecipeTable
from vesemir.adapters.recipes.older_text import older_text
from vesemir.adapters.recipes.recipe_builder import RecipeBuilder
from vesemir.adapters.toml_lines import key_lines, line_of, parse_toml, path_text, reason_of, syntax_line
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


def read_recipe(file: Path, *, sudo: bool = True) -> Recipe:
    """The recipe in a file; ``sudo`` is whether its steps may use it. Raises ``RecipeFileError``."""
    if RECIPE_NAME.fullmatch(file.stem) is None:
        reason = f"the file's name must match {RECIPE_NAME.pattern} before .toml"
        raise RecipeFileError([RecipeProblem(file, None, reason)])
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        reason = f"cannot be read: {error.strerror}; check its owner and mode"
        raise RecipeFileError([RecipeProblem(file, None, reason)]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RecipeFileError([RecipeProblem(file, line, "is not UTF-8 text")]) from error
    return recipe_of(file, text, sudo=sudo)


def recipe_of(file: Path, text: str, *, sudo: bool = True) -> Recipe:
    """The recipe that ``text`` describes; ``file`` gives its name. Raises ``RecipeFileError``."""
    try:
        table = parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        problem = RecipeProblem(file, syntax_line(str(error)), f"is no TOML: {error}")
        raise RecipeFileError([problem]) from error
    try:
        builder = RecipeBuilder(file.stem, RecipeTable.model_validate(table))
    except ValidationError as error:
        found = [(detail["loc"], reason_of(detail)) for detail in error.errors(include_url=False)]
    else:
        recipe = builder.build()
        found = [*builder.problems, *(() if sudo else _sudo_problems(recipe))]
        if not found:
            older = older_text(text)
            return replace(recipe, source=text, older_source="" if older == text else older)
    lines = key_lines(text)
    raise RecipeFileError(
        [RecipeProblem(file, line_of(lines, path), f"{path_text(path)}: {reason}") for path, reason in found]
    )


def _sudo_problems(recipe: Recipe) -> list[tuple[tuple[str | int, ...], str]]:
    reason = "recipes of this folder may not use sudo (recipes.sudo_folders in the settings)"
    return [
        ((kind, index, "sudo"), reason)
        for kind, steps in recipe.lists.items()
        for index, step in enumerate(steps)
        if step.sudo is not False
    ]
