"""A lane in which nothing was left drained before."""

from tests.fakes.record import Record
from tests.fakes.store import FakeStore

from vesemir.engine.traffic.left_before import LeftBefore


def nothing_before() -> LeftBefore:
    return LeftBefore(FakeStore(Record(), instance="test/1"), "shop/production")
