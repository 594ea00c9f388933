"""One connection of aiohttp's server, with limits.

aiohttp (3.14) bounds sizes: 8 KiB for a line or a field, 128 fields, 32 pipelined requests. Of time it bounds only the
pause between two requests and how long it reads on after an answer; it does not bound connections, and it logs a
traceback for each request that is not HTTP. ``GuardedHandler`` is its handler with the hooks that every protocol of
asyncio has (a connection came, bytes came, the client does not take any, it has gone) and two public methods of its
own (an answer was written, a request is wrong). ``begun`` is the middleware that sees a header end.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from vesemir.adapters.http.answers import error_answer
from vesemir.adapters.http.crowd import Crowd
from vesemir.adapters.http.limits import HttpLimits, peer_of
from vesemir.adapters.http.remarks import CountedRemarks

LINGER_SECONDS = 2.0
"""How long the rest of a body is read after an answer that did not need it: who still sends then sees the answer."""
HEALTH = "/health"
NOT_HTTP = "a request is not valid HTTP; it was answered with 400 or closed"
CUT_OFF = "a client went away, or broke off its request"
NO_ROOM = "http.max_connections are all in work; a connection was closed"
CROWDED = "too many connections; the one that had waited longest was closed"
FULL = "this instance has too many HTTP connections; try again"
_CLIENT_FAULTS = (HttpProcessingError, web.RequestPayloadError, web.PayloadAccessError, ConnectionError)


class GuardedHandler(web.RequestHandler):
    """``connection_made`` lets it in or closes it; from then on one timer says when it must be further."""

    __slots__ = ("_body", "_crowd", "_idle", "_limits", "_remarks", "_send", "_timer", "_wire", "peer")

    def __init__(self, server: web.Server, *, crowd: Crowd, limits: HttpLimits, remarks: CountedRemarks) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            # aiohttp's own timer says nothing and would race ours, so it is always the later one.
            keepalive_timeout=limits.header_seconds + 2 * limits.keep_alive_seconds,
            lingering_time=LINGER_SECONDS,
            # None: no log of accesses, which aiohttp's types do not foresee.
            access_log=None,  # type: ignore[arg-type]
        )
        self._crowd = crowd
        self._limits = limits
        self._remarks = remarks
        self._timer: asyncio.TimerHandle | None = None
        self._send: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None
        self._idle = False
        self._body: StreamReader | None = None
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        self.peer = peer_of(transport.get_extra_info("peername"))
        if not self._crowd.admit(self):
            self._remarks.note(NO_ROOM, self.peer)
            self._wire.abort()
            return
        super().connection_made(transport)
        self._header_due()

    def data_received(self, data: bytes) -> None:
        if self._idle and data and self._body is None:
            self._idle = False
            self._header_due()
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - what the parser did not foresee ends this connection, and is counted
            self._close_for(f"{NOT_HTTP} ({type(error).__name__})")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._crowd.left(self)
        self._stop_timers()
        if self._idle and self._body is not None:
            self._body.feed_eof()  # aiohttp still reads the rest of it, and would for LINGER_SECONDS
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        seconds = self._limits.send_seconds
        self._send = self._loop.call_later(
            seconds, self._close_for, f"a client took nothing of its answer for {seconds:g} s; it was closed"
        )

    def resume_writing(self) -> None:
        if self._send is not None:
            self._send.cancel()
            self._send = None
        super().resume_writing()

    def begin(self, request: web.Request) -> bool:
        """A header is complete. False: this connection is for a health check only."""
        self._crowd.works(self)
        self._idle = False
        self._body = request.content
        seconds = self._limits.body_seconds
        self._due(seconds, f"the body of a request did not come within {seconds:g} s; it was closed")
        request.content.on_eof(self._body_ended)
        return not self._crowd.is_spare(self)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """As aiohttp does; then the connection waits for its next request."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._rest()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A request that is no HTTP is answered and counted; aiohttp would log a traceback."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self._remarks.note(NOT_HTTP, self.peer)
        answer = error_answer(HTTPStatus.BAD_REQUEST, "this is not a valid HTTP request")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - aiohttp's own signature
        """What a client caused is counted, everything else is a bug and has its traceback."""
        if isinstance(options.get("exc_info"), _CLIENT_FAULTS):
            self._remarks.note(CUT_OFF, self.peer)
        else:
            super().log_exception(*args, **options)

    def make_room(self) -> None:
        """For a new connection, when this one only waits."""
        self._close_for(CROWDED)

    def _header_due(self) -> None:
        seconds = self._limits.header_seconds
        self._due(seconds, f"the header of a request did not come within {seconds:g} s; it was closed")

    def _body_ended(self) -> None:
        """The request may now take its time; after its answer, another limit counts already."""
        self._body = None
        if not self._idle and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rest(self) -> None:
        if self._wire is None or self._wire.is_closing():
            return
        self._crowd.waits(self)
        self._idle = True
        self._due(self._limits.keep_alive_seconds, "")

    def _due(self, seconds: float, otherwise: str) -> None:
        """One limit at a time; the one before no longer counts."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._close_for, otherwise)

    def _close_for(self, what: str) -> None:
        """At once, with what was not sent yet: a client that takes nothing would keep a closing connection open."""
        if what:
            self._remarks.note(what, self.peer)
        self._crowd.left(self)
        self._stop_timers()
        if self._wire is not None:
            self._wire.abort()

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._send):
            if timer is not None:
                timer.cancel()
        self._timer = self._send = None


@web.middleware
async def begun(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The first of all middlewares: from here on a connection is in work."""
    connection = request.protocol
    if isinstance(connection, GuardedHandler) and not connection.begin(request) and not is_health(request.path):
        answer = error_answer(HTTPStatus.SERVICE_UNAVAILABLE, FULL, {"Retry-After": "1"})
        answer.force_close()
        return answer
    return await handler(request)


def is_health(path: str) -> bool:
    """Whether it is one of the paths that load balancers ask, which are answered whatever else goes on."""
    return path == HEALTH or path.startswith(f"{HEALTH}/")
