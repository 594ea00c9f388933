"""Listening, for as long as a context is open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.observe import Log

SHUTDOWN_SECONDS = 2.0
"""For requests in flight when the service stops; streams of events are told to end."""


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int, *, log: Log) -> AsyncIterator[int]:
    """Listen while the context is open; yields the bound port, which matters where ``port`` is 0.

    Raises ``VesemirError`` when that is not possible.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise VesemirError(f"cannot listen on {host}:{port}: {reason}; set http.host and http.port") from error
        bound = int(runner.addresses[0][1])
        log.info(f"Listening on http://{f'[{host}]' if ':' in host else host}:{bound}")
        yield bound
    finally:
        await runner.cleanup()
