"""URLs with several hosts, which the library refuses: nothing of them may be missed, least of all their password."""

from urllib.parse import urlsplit

import pytest

from vesemir.adapters.secret_file import hidden_of
from vesemir.adapters.url_parts import url_parts

SEVERAL = "postgresql://user:p%5Bss@one:1,[2001:db8::1]:2/record?sslmode=require#end"


def test_of_several_hosts() -> None:
    parts = url_parts(SEVERAL)
    assert (parts.scheme, parts.netloc) == ("postgresql", "user:p%5Bss@one:1,[2001:db8::1]:2")
    assert (parts.path, parts.query, parts.fragment) == ("/record", "sslmode=require", "end")
    assert (parts.username, parts.password) == ("user", "p%5Bss")


def test_their_password_is_hidden() -> None:
    assert hidden_of(SEVERAL) == [SEVERAL, "p[ss"]
    assert hidden_of("amqp://u:pass[word@[::1") == ["amqp://u:pass[word@[::1", "pass[word"]


@pytest.mark.parametrize(
    "url",
    ["", "word", "/path", "AMQP://u:p@host:5/%2F?heartbeat=5", "postgresql:///name?host=/run", "http://[::1]:8/a"],
)
def test_everything_else_is_as_the_library_has_it(url: str) -> None:
    assert url_parts(url) == urlsplit(url)
