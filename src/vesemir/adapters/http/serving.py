"""Listening, for as long as a context is open."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from aiohttp import web

from vesemir.adapters.http.crowd import Crowd
from vesemir.adapters.http.guarded import GuardedHandler
from vesemir.adapters.http.limits import HttpLimits
from vesemir.adapters.http.remarks import CountedRemarks
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.observe import Log

SHUTDOWN_SECONDS = 2.0
"""For requests in flight when the service stops; streams of events are told to end."""
BACKLOG = 1024
"""Connections that the kernel holds until they are accepted. A crowd fills aiohttp's 128 in a moment, and the kernel of
the next client, which may be a health check, then tries again only after a second. Waiting, they take no descriptors:
libuv accepts one in each turn of the loop."""


@asynccontextmanager
async def serving(
    app: web.Application,
    host: str,
    port: int,
    *,
    log: Log,
    limits: HttpLimits | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Listen while the context is open; yields the bound port, which matters where ``port`` is 0.

    With ``tls`` it speaks HTTPS. Raises ``VesemirError`` when that is not possible.
    """
    limits = limits or HttpLimits()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, handle_signals=False)
    await runner.setup()
    remarks = CountedRemarks(log)
    connection = partial(
        GuardedHandler,
        cast("web.Server", runner.server),  # None before setup only
        crowd=Crowd(limits),
        limits=limits,
        remarks=remarks,
    )
    listener: asyncio.Server | None = None
    try:
        try:
            listener = await asyncio.get_running_loop().create_server(
                connection,
                host,
                port,
                backlog=BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=limits.header_seconds if tls else None,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise VesemirError(f"cannot listen on {host}:{port}: {reason}; set http.host and http.port") from error
        bound = int(listener.sockets[0].getsockname()[1])
        log.info(f"Listening on http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{bound}")
        yield bound
    finally:
        if listener is not None:
            listener.close()
        await runner.cleanup()
        remarks.close()
