"""Replies of a load balancer that is not what it seems: states and numbers in their limits, or one failure of ours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st
from tests.fuzz.examine import Area, Check
from tests.fuzz.mutation import nearly
from tests.fuzz.storable import assert_failure, assert_storable

from vesemir.adapters.haproxy.reply import (
    parse_backend_number,
    parse_counters,
    parse_process,
    parse_servers,
    refuse_reply,
)
from vesemir.domain.failure import FailedError

_RECORDED = Path(__file__).parents[1] / "unit" / "haproxy"
BACKEND, BOX = "app", "lb1"
_REFUSALS = [
    b"\n", b"No such server.\n", b"Permission denied\n",
    b"Backend is using a static LB algorithm and only accepts weights '0%' and '100%'.\n",
    b"Name: HAProxy\nVersion: 2.6.12\nPid: 4711\nUptime_sec: 12\n\n",
]  # fmt: skip
SEEDS = [*(file.read_bytes() for file in sorted(_RECORDED.glob("haproxy-*.txt"))), *_REFUSALS]
READERS: tuple[Callable[[str], object], ...] = (
    lambda reply: parse_servers(reply, BACKEND, BOX),
    lambda reply: parse_backend_number(reply, BACKEND, BOX),
    lambda reply: parse_counters(reply, BOX),
    lambda reply: parse_process(reply, BOX),
    lambda reply: refuse_reply(reply, "set server app/w1 state maint", BOX),
)


def _judge(reply: bytes) -> None:
    text = reply.decode("utf-8", "replace")  # as the relay does
    for read in READERS:
        try:
            found = read(text)
        except FailedError as error:
            assert_failure(error)
        else:
            assert_storable(found)


@contextmanager
def opened() -> Iterator[Check]:
    yield _judge


HAPROXY = Area(
    "haproxy", "any reply of HAProxy: states, or one failure", nearly(SEEDS) | st.sampled_from(SEEDS), opened
)
