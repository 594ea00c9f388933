"""Recipes from TOML files: ``load_recipes`` reads all folders, or names every broken file with line and reason."""

from vesemir.adapters.recipes.artifacts import local_artifact
from vesemir.adapters.recipes.book import RecipeBook, RecipeFileError, RecipeProblem, load_recipes

__all__ = ["RecipeBook", "RecipeFileError", "RecipeProblem", "load_recipes", "local_artifact"]
