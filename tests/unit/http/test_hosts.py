"""Which names in ``Host`` are accepted, and whose pages may ask."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vesemir.adapters.http.hosts import AcceptedHosts
from vesemir.settings import HttpSettings

OWN = socket.gethostname()
DEFAULT = AcceptedHosts.of(None)
NAMED = AcceptedHosts.of(("Vesemir.example.com", "[2001:db8::1]"))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8080", "192.0.2.7", "[::1]", "[::1]:8080", "localhost", "LOCALHOST:80", "localhost.", OWN],
)
def test_by_default_addresses_localhost_and_the_own_name_are_accepted(host: str) -> None:
    assert DEFAULT.accept(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8080", "", ":80", "a@localhost",
     "localhost:port", "localhost:80:80", "[::1", "::1]", "localhost/", "localhost evil.example", "2130706433x"],
)  # fmt: skip
def test_every_other_name_is_not(host: str) -> None:
    assert not DEFAULT.accept(host)


def test_names_that_are_set_are_the_only_ones() -> None:
    assert NAMED.accept("vesemir.EXAMPLE.com:443")
    assert NAMED.accept("[2001:db8::1]:8080")
    assert not any(NAMED.accept(host) for host in ("localhost", "127.0.0.1", OWN, "example.com"))


@pytest.mark.parametrize(
    ("origin", "host", "accepted"),
    [
        ("http://localhost:8080", "localhost:8080", True),
        ("http://localhost", "localhost:80", True),
        ("https://127.0.0.1", "127.0.0.1", True),
        ("http://localhost:3000", "localhost:8080", False),
        ("http://127.0.0.1:8080", "localhost:8080", False),
        ("https://evil.example", "localhost:8080", False),
        ("null", "localhost:8080", False),
        ("file://", "localhost", False),
        ("", "localhost", False),
    ],
)
def test_a_page_is_this_instances_own_only_at_the_very_address(origin: str, host: str, accepted: bool) -> None:  # noqa: FBT001
    assert DEFAULT.accept_origin(origin, host) is accepted


def test_a_name_that_is_set_may_be_the_proxys() -> None:
    """A proxy that does TLS may ask with another name than the page has."""
    assert NAMED.accept_origin("https://vesemir.example.com", "10.0.0.1:8080")
    assert not NAMED.accept_origin("https://example.com", "10.0.0.1:8080")


@given(st.text(max_size=40))
def test_no_text_is_a_bug(text: str) -> None:
    DEFAULT.accept(text)
    DEFAULT.accept_origin(text, text)


@pytest.mark.parametrize("name", ["https://vesemir.example.com", "vesemir.example.com:443", "a b", "*"])
def test_a_setting_that_is_not_a_name_is_an_error(name: str) -> None:
    with pytest.raises(ValidationError):
        HttpSettings(hosts=(name,))
