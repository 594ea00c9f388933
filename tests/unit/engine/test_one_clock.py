"""The engine asks one clock, and only ``vesemir.engine.clock`` knows which (docs/decisions.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vesemir.engine

ENGINE = Path(vesemir.engine.__file__).parent
CLOCK = ENGINE / "clock.py"
ON_HOST = ENGINE / "target" / "place_on_host.py"
"""Runs on a host, by the host's Python alone."""
FAILPOINTS = ENGINE / "failpoints.py"
"""Sleeps, to block the event loop on purpose."""


def other_clocks(source: str) -> Iterator[str]:
    """What in a module asks a clock by itself: the module ``time``, but for its sleep, and an event loop's ``time``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                pass
            case ast.Attribute(value=ast.Name(id="time")) | ast.Attribute(attr="time" | "monotonic" | "perf_counter"):
                yield ast.unparse(node)
            case ast.ImportFrom(module="time"):
                yield ast.unparse(node)


@pytest.mark.parametrize(
    "source",
    [
        "import time\nstarted = time.monotonic()",
        "HeldLease(clock=time.monotonic)",
        "from time import monotonic",
        "asyncio.get_running_loop().time()",
        "loop = asyncio.get_running_loop()\nloop.time()",
    ],
)
def test_each_way_to_another_clock_is_seen(source: str) -> None:
    assert list(other_clocks(source))


def test_the_engine_has_one_clock() -> None:
    modules = [module for module in ENGINE.rglob("*.py") if module not in {CLOCK, ON_HOST}]
    assert FAILPOINTS in modules
    others = {
        str(module.relative_to(ENGINE)): found
        for module in modules
        if (found := list(other_clocks(module.read_text(encoding="utf-8"))))
    }
    assert others == {}
