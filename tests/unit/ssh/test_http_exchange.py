"""What is asked of a health address, and what its answer says, whatever pieces it comes in."""

import gzip
import zlib

import h11
import pytest

from vesemir.adapters.ssh.http_exchange import MOST_INFORMATIONAL, HttpExchange, HttpRequest
from vesemir.engine.ports.hosts import BODY_LIMIT, HttpAnswer

BODY = b'{"version": "1.0"}'


def answered(*pieces: bytes) -> HttpAnswer:
    exchange = HttpExchange()
    for piece in pieces:
        if not exchange.complete:
            exchange.feed(piece)
    assert exchange.complete
    return exchange.value


def head(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()


def test_what_is_asked() -> None:
    asked = HttpRequest.of("http://user@[::1]:8080/health?full=1")

    assert (asked.host, asked.port) == ("::1", 8080)
    assert asked.sent.startswith(b"GET /health?full=1 HTTP/1.1\r\nHost: [::1]:8080\r\n")
    assert b"\r\nAccept-Encoding: identity\r\n" in asked.sent


@pytest.mark.parametrize("url", ["https://x/", "http:///health", "ftp://x"])
def test_what_is_not_asked(url: str) -> None:
    with pytest.raises(ConnectionError, match="no http:// address"):
        HttpRequest.of(url)


def test_byte_by_byte_and_all_at_once() -> None:
    whole = head(f"Content-Length: {len(BODY)}") + BODY
    for pieces in ([whole], [bytes([byte]) for byte in whole]):
        assert answered(*pieces) == HttpAnswer(200, BODY)


def test_until_the_connection_ends() -> None:
    assert answered(head() + BODY, b"") == HttpAnswer(200, BODY)


@pytest.mark.parametrize(
    ("coding", "sent"), [("gzip", gzip.compress(BODY, mtime=0)), ("deflate", zlib.compress(BODY)), ("identity", BODY)]
)
def test_a_proxy_that_compresses_unasked(coding: str, sent: bytes) -> None:
    assert answered(head(f"Content-Encoding: {coding}", f"Content-Length: {len(sent)}") + sent) == HttpAnswer(200, BODY)


@pytest.mark.parametrize("coding", ["br", "gzip"])
def test_what_cannot_be_undone_is_named(coding: str) -> None:
    answer = answered(head(f"Content-Encoding: {coding}", "Content-Length: 3") + b"abc")

    assert answer == HttpAnswer(200, b"abc", coding=coding)


def test_no_more_than_the_limit_is_kept_also_of_what_unfolds() -> None:
    bomb = gzip.compress(b"x" * 10 * BODY_LIMIT)
    folded = answered(head("Content-Encoding: gzip", f"Content-Length: {len(bomb)}") + bomb)
    plain = answered(head(f"Content-Length: {10 * BODY_LIMIT}") + b"x" * (BODY_LIMIT + 1))

    assert folded == plain == HttpAnswer(200, b"x" * BODY_LIMIT, cut=True)


def test_answers_before_the_answer_end() -> None:
    assert answered(b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MOST_INFORMATIONAL + 1)).status == 0


def test_what_is_no_http_is_an_error() -> None:
    with pytest.raises(h11.ProtocolError):
        HttpExchange().feed(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


@pytest.mark.parametrize("url", ["http://box/a b", "http://box/ü", "http://box:port/", "http://[::1/", "https://box/"])
def test_an_address_that_no_request_can_be_made_of_is_a_failed_try(url: str) -> None:
    """What a variable of a host or a parameter made of it: not an error of our own."""
    with pytest.raises(ConnectionError):
        HttpRequest.of(url)
