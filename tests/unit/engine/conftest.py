"""Every test here runs on virtual time."""

from collections.abc import Callable, Iterator, Mapping

import pytest
from tests.unit.engine.virtual_time import VirtualLoop, on_virtual_time


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], VirtualLoop]]:
    return {"virtual": VirtualLoop}


@pytest.fixture(autouse=True)
def _virtual_time() -> Iterator[None]:
    with on_virtual_time():
        yield
