"""The same work for many targets at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from vesemir.domain.failure import LeaseLostError
from vesemir.engine.target.row import Row


async def for_each(rows: Iterable[Row], work: Callable[[Row], Awaitable[None]], *, name: str) -> None:
    """Done for all, or ended for all. Raises ``LeaseLostError`` as itself, anything else as an ``ExceptionGroup``."""

    async def one(row: Row) -> None:
        await work(row)

    try:
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(one(row), name=f"{name} {row.name}")
    except BaseExceptionGroup as errors:
        if errors.subgroup(LeaseLostError) is not None:
            raise LeaseLostError("the lease was lost on the way") from errors
        raise
