"""Nothing that a request names is read as syntax, whatever it holds, and what it names is found to the letter."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vesemir.adapters.chef.query import ChefMembership, is_meant, search_query, search_term
from vesemir.domain.selector import ChefSelector

ESCAPABLE = r"\[\]\\!(){}^~:"
BOTH_GRAMMARS = re.compile(rf"(?!AND|OR|NOT)(?:[A-Za-z0-9_.*]|\\[{ESCAPABLE}])(?:[A-Za-z0-9_.@*-]|\\[{ESCAPABLE}])*")
"""What chef_lucene.peg and goiardi's search-parse.peg both take for one term."""


def found_by(term: str, value: str) -> bool:
    """As an index does it: ``*`` is anything, an escape is its character, and a value ends at its first space."""
    parts = re.findall(r"\\.|.", term, re.DOTALL)
    pattern = "".join(".*" if part == "*" else re.escape(part[-1]) for part in parts)
    return re.fullmatch(pattern, re.split(r"\s", value, maxsplit=1)[0], re.DOTALL) is not None


@pytest.mark.parametrize(
    ("value", "term"),
    [
        ("shop-web", "shop-web"),
        ("shop::web", r"shop\:\:web"),
        ("role[web]", r"role\[web\]"),
        (r"a\b", r"a\\b"),
        ("(a)!{b}^~", r"\(a\)\!\{b\}\^\~"),
        ("v1.2_x@y", "v1.2_x@y"),
        ("-web", "*web"),
        ("@web", "*web"),
        ("a/b", "a*b"),
        ("a+b&c|d%e", "a*b*c*d*e"),
        ('a"b', "a*b"),
        ("a*", "a*"),
        ("a?b", "a*b"),
        ("a b", "a*"),
        (" a", "*"),
        ("a:b/c", "a*b*c"),
        ("ürlaub", "*rlaub"),
        ("OR", "*R"),
        ("AND-x", "*ND-x"),
        ("NOTES", "*OTES"),
        ("x OR *:*", "x*"),
        ("x) OR (tags:*", r"x*"),
    ],
)
def test_a_value_is_written_so_that_every_server_reads_it_as_a_value(value: str, term: str) -> None:
    assert search_term(value) == term


@settings(deadline=None)
@given(st.text(min_size=1))
@example("x OR *:*")
@example("tags:*")
@example("AND")
@example("\\")
def test_any_value_is_one_term_that_finds_it(value: str) -> None:
    term = search_term(value)
    assert BOTH_GRAMMARS.fullmatch(term), term
    assert found_by(term, value)


@settings(deadline=None)
@given(st.from_regex(rf"[A-Za-z0-9_.{ESCAPABLE}][A-Za-z0-9_.@{ESCAPABLE}-]*", fullmatch=True), st.text(min_size=1))
def test_a_value_that_both_grammars_can_say_finds_nothing_else(value: str, other: str) -> None:
    if not value.startswith(("AND", "OR", "NOT")):
        assert found_by(search_term(value), other) == (re.split(r"\s", other, maxsplit=1)[0] == value)


VALUES = st.lists(st.text(min_size=1), max_size=3).map(tuple)


@settings(deadline=None)
@given(VALUES, VALUES, VALUES, st.text())
def test_a_search_has_a_term_for_each_value_and_no_more(
    tags: tuple[str, ...], roles: tuple[str, ...], recipes: tuple[str, ...], environment: str
) -> None:
    query = search_query(ChefSelector(tags=tags, roles=roles, recipes=recipes, environment=environment))
    parts = query.split(" AND ") if query else []
    fields = ["tags"] * len(tags) + ["roles"] * len(roles) + ["recipes"] * len(recipes)
    fields += ["chef_environment"] if environment else []
    assert [part.partition(":")[0] for part in parts] == fields
    assert all(BOTH_GRAMMARS.fullmatch(part.partition(":")[2]) for part in parts)


def test_tags_roles_recipes_and_environment_are_all_asked_for() -> None:
    selector = ChefSelector(tags=("a", "b"), roles=("web",), recipes=("shop::app",), environment="production")
    assert search_query(selector) == (
        r"tags:a AND tags:b AND roles:web AND recipes:shop\:\:app AND chef_environment:production"
    )


def test_a_raw_query_is_sent_as_it_is_and_means_what_it_finds() -> None:
    selector = ChefSelector(query="tags:a* OR NOT roles:b")
    assert search_query(selector) == "tags:a* OR NOT roles:b"
    assert is_meant(selector, ChefMembership())


NODE = ChefMembership(tags=["a", "b"], roles=["web"], recipes=["shop", "shop::app"], environment="production")


@pytest.mark.parametrize(
    "selector",
    [
        ChefSelector(tags=("a",)),
        ChefSelector(tags=("b", "a"), environment="production"),
        ChefSelector(roles=("web",), recipes=("shop::app",)),
    ],
)
def test_a_node_is_meant_that_has_all_of_it(selector: ChefSelector) -> None:
    assert is_meant(selector, NODE)


@pytest.mark.parametrize(
    "selector",
    [
        ChefSelector(tags=("a", "c")),
        ChefSelector(tags=("A",)),
        ChefSelector(tags=("a*",)),
        ChefSelector(tags=("",)),
        ChefSelector(tags=("a",), environment="prod"),
        ChefSelector(roles=("we",)),
        ChefSelector(recipes=("app",)),
    ],
)
def test_a_node_is_not_meant_that_lacks_one_letter_of_it(selector: ChefSelector) -> None:
    assert not is_meant(selector, NODE)
