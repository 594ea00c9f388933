"""Secrets are taken out of text, whatever surrounds them, and in linear time."""

import base64
import html
import shlex
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.adapters.observe.redaction import _patterns as patterns
from vesemir.domain.hiding import HIDDEN, Redactor, told_by_name


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
        (
            "-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: x\nMIIE\n-----END RSA",
            "-----BEGIN RSA PRIVATE KEY-----•••-----END RSA",
        ),
        ("-----BEGIN CERTIFICATE-----\nMIIE", "-----BEGIN CERTIFICATE-----\nMIIE"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_what_carries_a_password_is_known_by_its_form(text: str, hidden: str) -> None:
    assert patterns(text) == hidden


def test_registered_values_are_hidden_as_they_are_and_as_in_a_url() -> None:
    secrets = Redactor()
    secrets.add(["p/ss wörd"])
    assert secrets("p/ss wörd, p%2Fss%20w%C3%B6rd") == f"{HIDDEN}, {HIDDEN}"


def test_every_line_of_a_key_is_hidden_and_the_longest_first() -> None:
    secrets = Redactor()
    secrets.add(["BEGIN KEY\nabcdefgh\nEND KEY"])
    secrets.add(["abcd"])
    assert secrets("abcdefgh then abcd") == f"{HIDDEN} then {HIDDEN}"


def test_a_value_too_short_to_guard_anything_hides_nothing() -> None:
    secrets = Redactor()
    secrets.add(["a"])
    secrets.add([""])
    assert secrets("a banana") == "a banana"


@pytest.mark.parametrize("spelling", ['pass"wörd', 'pass\\"w\\u00f6rd', "pass%22w%C3%B6rd", "cGFzcyJ3w7ZyZA=="])
def test_the_forms_in_which_programs_print_a_secret_are_known(spelling: str) -> None:
    secrets = Redactor()
    secrets.add(['pass"wörd'])
    assert secrets(f"<{spelling}>") in {f"<{HIDDEN}>", f"<{HIDDEN}==>"}


def test_any_case_counts() -> None:
    secrets = Redactor()
    secrets.add(["Sup3rSecret"])
    assert secrets("SUP3RSECRET sup3rsecret") == f"{HIDDEN} {HIDDEN}"


SECRET = "p&ss <w'rd> 4711"


@pytest.mark.parametrize(
    "printed",
    [
        html.escape(SECRET),
        html.escape(SECRET, quote=False),
        shlex.quote(SECRET),
        "p\\&ss\\ \\<w\\'rd\\>\\ 4711",
        "'p&ss <w'\\''rd> 4711'",
        quote(SECRET),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower(),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        SECRET.encode().hex(" "),
        repr(SECRET),
    ],
)
def test_quoted_and_encoded_in_every_usual_way(printed: str) -> None:
    secrets = Redactor()
    secrets.add([SECRET])
    hidden = secrets(f"value={printed};")
    assert HIDDEN in hidden
    assert "4711" not in hidden
    assert SECRET.encode().hex()[4:12] not in hidden.lower()


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "\n", "xy", "xyz"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_a_longer_text_hides_the_secret_in_it(
    before: str, after: str, encode: Callable[[bytes], bytes]
) -> None:
    """`echo $PASSWORD | base64` has a newline that changes the last digits; user:password another place."""
    secrets = Redactor()
    secrets.add([SECRET])
    digits = encode(f"{before}{SECRET}{after}".encode()).decode()
    hidden = secrets(digits)
    assert HIDDEN in hidden
    assert len(hidden.replace(HIDDEN, "")) <= len(digits) - len(SECRET) * 4 // 3 + 2


@pytest.mark.parametrize("cut", range(len("correct-horse")))
def test_the_end_of_an_output_may_begin_in_the_middle_of_a_secret(cut: int) -> None:
    secrets = Redactor()
    secrets.add(["correct-horse"])
    rest = "correct-horse"[cut:]
    assert secrets.tail(f"{rest} and more") == (f"{HIDDEN} and more" if len(rest) >= 4 else f"{rest} and more")


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("DB_PASSWORD", "hunter22", True),
        ("api_key", "hunter22", True),
        ("PARAM_AUTH_TOKEN", "hunter22", True),
        ("DB_PASSWORD_FILE", "/run/secrets/db", False),
        ("DB_PASSWORD", "short", False),
        ("RAILS_ENV", "production", False),
        ("KEYBOARD", "german-layout", False),
    ],
)
def test_a_variables_name_tells_whether_its_value_is_a_secret(name: str, value: str, *, hidden: bool) -> None:
    assert told_by_name(name, value) is hidden


@given(st.text(st.characters(codec="utf-8"), min_size=4), st.text(), st.text())
def test_a_secret_on_one_line_never_survives(secret: str, before: str, after: str) -> None:
    lines = [line.strip() for line in secret.splitlines()]
    secrets = Redactor()
    secrets.add([secret])
    shown = secrets(before + secret + after)
    # What the replacement itself is made of may of course appear.
    assert all(len(line) < 4 or line not in shown or set(line) <= set(HIDDEN) for line in lines)


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "://",
        "://a:",
        "://:",
        "://a:b",
        "password=",
        "password='",
        "authorization: ",
        "-----BEGIN PRIVATE KEY-----",
        "-",
        " ",
    ],
)
def test_time_grows_with_the_text_and_no_faster(piece: str) -> None:
    """A host may print anything, a megabyte of half a URL for instance."""
    text = piece * (1024 * 1024 // len(piece))
    begun = time.perf_counter()
    patterns(text)
    assert time.perf_counter() - begun < 5
