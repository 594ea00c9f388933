"""Situations that several tests of a deployment's run share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.engine.world import World

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.engine.ports.changes import MoveTarget

UNREACHABLE = FailedError(FailureCode.SSH_UNREACHABLE, "no route to host")
BACK = {"on_failure": "rollback"}


def now() -> float:
    return asyncio.get_running_loop().time()


def slow_inventory(world: World, seconds: float) -> asyncio.Event:
    """The inventory takes so long to answer. The event is set once it has been asked."""
    looking, plain = asyncio.Event(), world.inventory.resolve

    async def resolve(selector: Any) -> Any:
        looking.set()
        await asyncio.sleep(seconds)
        return await plain(selector)

    world.inventory.resolve = resolve  # type: ignore[method-assign]
    return looking


@asynccontextmanager
async def never(_target: Any, _ticket: Any) -> AsyncIterator[None]:
    """A login that gets no answer."""
    await asyncio.Event().wait()
    yield


def lose(world: World, change: object) -> bool:
    """Another instance has it by now."""
    if isinstance(change, MoveTarget):
        world.row().epoch = 99
    return False
