"""What the targets do right now, read from the record while a rollout is followed. Events come by the broker."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from vesemir.adapters.postgres import PostgresStore, Reader
from vesemir.domain.doing import Doing
from vesemir.engine.ports.store import StoreAwayError
from vesemir.settings import PostgresSettings

POLL_SECONDS = 1.0
AWAY_SECONDS = 15.0
"""How long a record that is away is left alone: what is shown of it is a hint."""


async def follow_doing(
    settings: PostgresSettings,
    deployment_id: str,
    *,
    wanted: Callable[[], bool],
    show: Callable[[Sequence[Doing]], None],
) -> None:
    """Read it from the record every second while it is ``wanted``, for ever. A record that is away shows nothing."""
    while True:
        with suppress(StoreAwayError):
            async with PostgresStore.connected(settings, instance="cli", retry_seconds=0) as store:
                await _read_on(store, deployment_id, wanted, show)
        show(())
        await asyncio.sleep(AWAY_SECONDS)


async def _read_on(
    reader: Reader, deployment_id: str, wanted: Callable[[], bool], show: Callable[[Sequence[Doing]], None]
) -> None:
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if wanted():
            show(await reader.doing_of(deployment_id) or ())
