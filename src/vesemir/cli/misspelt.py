"""What somebody typed wrong, and what was probably meant."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from typer.core import TyperGroup

_Private = Any
"""Typer's own classes of contexts and commands are not public."""

_REASONS: Mapping[str, str] = {
    r"^Input should be greater than or equal to (.*)": r"must be \1 or more",
    r"^Input should be less than or equal to (.*)": r"must be at most \1",
    r"^Input should be greater than (.*)": r"must be more than \1",
    r"^Input should be less than (.*)": r"must be less than \1",
    r"^Input should be a valid integer.*": "must be a whole number",
    r"^Input should be a valid number.*": "must be a number",
    r"^Input should be a valid (.*?),.*": r"must be a valid \1",
    r"^Input should be (.*)": r"must be \1",
}
"""Typer checks options by pydantic, whose words are for programmers."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """What was probably meant: first of all the same letters in another order."""
    found = get_close_matches(name, list(known), 3)
    return min(found, key=lambda each: sorted(each) != sorted(name), default=None)


class SuggestingGroup(TyperGroup):
    """Commands, of which the nearest is named when there is none of a name."""

    def resolve_command(self, ctx: _Private, args: list[str]) -> _Private:
        known = self.list_commands(ctx)
        if args and args[0][:1] not in {"", "-"} and args[0] not in known:
            meant = nearest(args[0], known)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean '{meant}'?" if meant else ""))
        return super().resolve_command(ctx, args)


def plain_reason(message: str) -> str:
    """What an option's value must be."""
    for pattern, words in _REASONS.items():
        if re.match(pattern, message):
            return re.sub(pattern, words, message)
    return message
