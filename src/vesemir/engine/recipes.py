"""The port to recipes."""

from collections.abc import Sequence
from typing import Protocol

from vesemir.domain.recipe import Recipe


class Recipes(Protocol):
    """The recipes that the operator has allowed, loaded and found sound before anything is taken from the queue."""

    @property
    def names(self) -> Sequence[str]:
        """All of them, sorted."""
        ...

    def get(self, name: str) -> Recipe | None:
        """The recipe of that name, None when there is none (``request.unknown_recipe``)."""
        ...
