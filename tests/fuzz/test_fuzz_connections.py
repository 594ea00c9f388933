"""A small, always equal part of ``tox -e fuzz``: what comes by HTTP, from hosts and from load balancers."""

from tests.fuzz.area_frames import FRAMES
from tests.fuzz.area_haproxy import HAPROXY
from tests.fuzz.area_http import HTTP
from tests.fuzz.examine import examine


def test_any_bytes_by_http_have_an_answer_or_a_closed_connection() -> None:
    examine(HTTP, examples=150)


def test_any_frames_of_a_host_are_answers_or_one_failure() -> None:
    examine(FRAMES, examples=200)


def test_any_reply_of_haproxy_is_read_or_one_failure() -> None:
    examine(HAPROXY, examples=300)
