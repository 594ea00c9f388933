"""Text with placeholders: ``{name}`` stands for a value, ``{{`` and ``}}`` for a brace. Nothing else is special.

A rendered template is one word, one path or one header of its own; it is never a piece of a shell's program text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

NAME = r"[a-z][a-z0-9_]*"

_TOKEN = re.compile(r"\{\{|\}\}|\{(" + NAME + r")\}|[{}]")


@dataclass(frozen=True, slots=True)
class Placeholder:
    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """``parts`` are literal text and placeholders in turn."""

    parts: tuple[str | Placeholder, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Raise ``ValueError`` for a brace that is neither doubled nor part of a placeholder."""
        parts: list[str | Placeholder] = []
        end = 0
        for token in _TOKEN.finditer(text):
            parts.append(text[end : token.start()])
            end = token.end()
            if token[1] is not None:
                parts.append(Placeholder(token[1]))
            elif len(token[0]) == 1:
                raise ValueError(
                    f"a single {token[0]} at character {token.start() + 1}: write {token[0] * 2} for a brace"
                )
            else:
                parts.append(token[0][0])
        parts.append(text[end:])
        return cls(tuple(part for part in parts if part != ""))

    @property
    def names(self) -> frozenset[str]:
        """The placeholders in it."""
        return frozenset(part.name for part in self.parts if isinstance(part, Placeholder))

    def render(self, values: Mapping[str, str]) -> str:
        """Put the values in; ``KeyError`` for an unknown name, which the loader of recipes has excluded."""
        return "".join(values[part.name] if isinstance(part, Placeholder) else part for part in self.parts)
