r"""From a selector to a Chef search, in which nothing that a request says is syntax.

Servers differ in what they can read. ``chef_lucene.peg`` of the Chef Infra Server knows an escape for
``[ ] \ / " ! ( ) { } ^ ~ * ? :`` and refuses one before ``- + & |``, which goiardi's ``search-parse.peg`` wants, while
that has none for ``/``; both decode ``%`` a second time, neither has a place for a space or for words such as ``OR``,
and what is indexed may be escaped as XML and is split at spaces (so only what stands before one is searched for). A
value is therefore written in what all of them read alike: plain characters, escapes that both grammars know, and
``*`` for anything else. Such a search may find too much (as does any search for ``tags``, which also finds
``docker.tags``) but never too little, and ``is_meant`` then keeps exactly the nodes that have what was named.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from vesemir.domain.selector import ChefSelector

_PLAIN = re.compile(r"[A-Za-z0-9_.@-]")
_FIRST_PLAIN = re.compile(r"[A-Za-z0-9_.]")
_ESCAPABLE = frozenset(r"[]\!(){}^~:")
_KEYWORDS = ("AND", "OR", "NOT")
ANY = "*"


@dataclass(frozen=True, slots=True)
class ChefMembership:
    """What a node says of itself that selectors name: its own lists, as of its last convergence."""

    tags: Collection[str] = ()
    roles: Collection[str] = ()
    recipes: Collection[str] = ()
    environment: str = ""


def search_query(selector: ChefSelector) -> str:
    """The ``q`` of ``search/node``: a raw query as it is, else all that the selector names, joined by ``AND``."""
    return selector.query or " AND ".join(f"{field}:{search_term(value)}" for field, value in _named(selector))


def search_term(value: str) -> str:
    r"""A pattern that matches ``value``, and nothing else if that can be said: ``shop::web`` is ``shop\:\:web``."""
    word = re.split(r"\s", value, maxsplit=1)[0]
    characters = [_character(character, first=index == 0) for index, character in enumerate(word)]
    if word != value:
        characters.append(ANY)
    if word.startswith(_KEYWORDS):
        characters[0] = ANY
    if ANY in characters:
        # goiardi makes a regular expression of a term with a wildcard, and its escapes are gone by then.
        characters = [ANY if len(character) > 1 else character for character in characters]
    return re.sub(r"\*+", ANY, "".join(characters)) or ANY


def is_meant(selector: ChefSelector, node: ChefMembership) -> bool:
    """Whether the node has all that the selector names, to the letter. A raw query means whatever it finds."""
    if selector.query:
        return True
    return (
        set(selector.tags) <= set(node.tags)
        and set(selector.roles) <= set(node.roles)
        and set(selector.recipes) <= set(node.recipes)
        and selector.environment in {"", node.environment}
    )


def _named(selector: ChefSelector) -> Iterator[tuple[str, str]]:
    yield from (("tags", value) for value in selector.tags)
    yield from (("roles", value) for value in selector.roles)
    yield from (("recipes", value) for value in selector.recipes)
    if selector.environment:
        yield "chef_environment", selector.environment


def _character(character: str, *, first: bool) -> str:
    if (_FIRST_PLAIN if first else _PLAIN).fullmatch(character):
        return character
    return f"\\{character}" if character in _ESCAPABLE else ANY
