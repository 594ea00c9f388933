"""Secrets are taken out of text, whatever surrounds them, and in linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.adapters.observe.redaction import HIDDEN, Secrets


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("amqp://guest:guest@127.0.0.1:5672/", "amqp://guest:•••@127.0.0.1:5672/"),
        ("postgresql://me:p@ss@db/x?y=1", "postgresql://me:•••@db/x?y=1"),
        ("https://:token@host/a https://u:v@host/b", "https://:•••@host/a https://u:•••@host/b"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("host=db password='a b' user=me", "host=db password=••• user=me"),
        ("PASSWORD = abc;x", "PASSWORD = •••;x"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer •••"),
        ('{"Authorization": "Basic YTpi"}', '{"Authorization": "Basic •••"}'),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_what_carries_a_password_is_known_by_its_form(text: str, hidden: str) -> None:
    assert Secrets().redact(text) == hidden


def test_registered_values_are_hidden_as_they_are_and_as_in_a_url() -> None:
    secrets = Secrets()
    secrets.add("p/ss wörd")
    assert secrets.redact("p/ss wörd, p%2Fss%20w%C3%B6rd") == f"{HIDDEN}, {HIDDEN}"


def test_every_line_of_a_key_is_hidden_and_the_longest_first() -> None:
    secrets = Secrets()
    secrets.add("BEGIN KEY\nabcdefgh\nEND KEY")
    secrets.add("abcd")
    assert secrets.redact("abcdefgh then abcd") == f"{HIDDEN} then {HIDDEN}"


def test_a_value_too_short_to_guard_anything_hides_nothing() -> None:
    secrets = Secrets()
    secrets.add("a")
    secrets.add("")
    assert secrets.redact("a banana") == "a banana"


@given(st.text(st.characters(codec="utf-8"), min_size=4), st.text(), st.text())
def test_a_secret_on_one_line_never_survives(secret: str, before: str, after: str) -> None:
    lines = [line.strip() for line in secret.splitlines()]
    secrets = Secrets()
    secrets.add(secret)
    shown = secrets.redact(before + secret + after)
    # What the replacement itself is made of may of course appear.
    assert all(len(line) < 4 or line not in shown or set(line) <= set(HIDDEN) for line in lines)


@pytest.mark.parametrize(
    "piece", ["a", "://", "://a:", "://:", "://a:b", "password=", "password='", "authorization: ", " "]
)
def test_time_grows_with_the_text_and_no_faster(piece: str) -> None:
    """A host may print anything, a megabyte of half a URL for instance."""
    text = piece * (1024 * 1024 // len(piece))
    begun = time.perf_counter()
    Secrets().redact(text)
    assert time.perf_counter() - begun < 5
