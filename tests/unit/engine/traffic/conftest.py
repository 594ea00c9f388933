"""These few wait for milliseconds of real time: the fake load balancer changes by itself meanwhile."""

import asyncio
from collections.abc import Callable, Mapping

import pytest


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"real": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def _virtual_time() -> None:
    """In place of the one for the whole engine."""
