"""Reading the record for a command: one connection to the database for as long as it runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from vesemir.adapters.postgres import PostgresStore, Reader
from vesemir.cli.complaint import ProblemsError
from vesemir.cli.configuration import load_settings
from vesemir.cli.state_words import status_words
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.views import DeploymentView
from vesemir.settings import Settings

T = TypeVar("T")

_REFUSED = (
    "a refused one is not recorded: its requester got deployment.rejected, and vesemir.rejected has a copy with the "
    "reason (vesemir explain request.invalid)"
)


def read(work: Callable[[Reader], Awaitable[T]], *, settings: Settings | None = None) -> T:
    """Run ``work`` with a reader of the record. Raises ``StoreAwayError`` with what to do about it."""
    return asyncio.run(_read(settings or load_settings(), work))


async def _read(settings: Settings, work: Callable[[Reader], Awaitable[T]]) -> T:
    async with PostgresStore.connected(settings.postgres, instance="cli") as store:
        return await work(store)


async def view_of(reader: Reader, deployment_id: str) -> DeploymentView:
    """All of one deployment. Raises ``VesemirError`` if it is not in the record."""
    view = await reader.deployment_view(deployment_id)
    if view is None and (result := await reader.kept_result(deployment_id)) is not None:
        dry_run = await reader.was_dry_run(deployment_id)
        ended = f"{status_words(result.body, dry_run=dry_run)} on {result.body['occurred_at'][:10]}"
        raise VesemirError(f"{deployment_id} ended as {ended}, and its record was cleaned up since (retention.days)")
    if view is None:
        missing = f"there is no deployment {deployment_id!r} in the record; `vesemir history` lists them"
        raise ProblemsError([missing, _REFUSED])
    return view
