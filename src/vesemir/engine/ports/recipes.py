"""The port to recipes."""

from collections.abc import Sequence
from typing import Protocol

from vesemir.domain.recipe import Recipe


class Recipes(Protocol):
    """The recipes that the operator has allowed, loaded and found sound. They may change at any time."""

    @property
    def names(self) -> Sequence[str]:
        """All of them, sorted."""
        ...

    def get(self, name: str) -> Recipe | None:
        """The recipe of that name, None when there is none (``request.unknown_recipe``)."""
        ...

    def recorded(self, name: str, source: str) -> Recipe | None:
        """The recipe of a text from the record, None if this version of Vesemir cannot read it."""
        ...

    def refresh(self) -> None:
        """Look whether they have changed. It may read files, so not on the event loop."""
        ...
