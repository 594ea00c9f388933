"""Recipes from TOML files, read again when they change; every broken file is named with line and reason."""

from vesemir.adapters.recipes.artifact_head import artifact_seen
from vesemir.adapters.recipes.artifacts import local_artifact
from vesemir.adapters.recipes.book import RecipeBook, RecipeFolder, RecipePlace, load_recipes, recipe_folders
from vesemir.adapters.recipes.recipe_file import RecipeFileError, RecipeProblem

__all__ = [
    "RecipeBook",
    "RecipeFileError",
    "RecipeFolder",
    "RecipePlace",
    "RecipeProblem",
    "artifact_seen",
    "load_recipes",
    "local_artifact",
    "recipe_folders",
]
