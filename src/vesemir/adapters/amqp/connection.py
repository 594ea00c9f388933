"""One connection to the broker: made, watched and closed within limits.

aiormq bounds neither its TCP connect nor its close, and rejects what was in flight with whatever ended the connection,
``CancelledError`` included; ``away_on_loss`` turns all of it into ``BrokerAwayError`` once.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aio_pika import Connection
from aio_pika.abc import AbstractChannel
from aio_pika.connection import make_url
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ProbableAuthenticationError

from vesemir.adapters.amqp.lenient import LenientTransport
from vesemir.adapters.tls_advice import missing_files, tls_advice
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.observe import Log
from vesemir.settings import AmqpSettings

CLOSE_SECONDS = 5.0
"""How long a close may take before the socket is dropped."""


class BrokerSilentError(BrokerAwayError):
    """Asked something on a connection that looks open, and there was no answer: the connection is to be given up."""


class LoginRefusedError(BrokerAwayError):
    """User or password are not the broker's, or not any more."""


@contextmanager
def away_on_loss(doing: str, *, but: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Translate every way in which aio-pika says that the connection or channel is gone, ``but`` excepted."""
    try:
        yield
    except but:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Not ours: aiormq rejected a future with the CancelledError that ended its reader.
        raise BrokerAwayError(f"{doing}: the connection to the broker was lost") from error
    except TimeoutError as error:
        raise BrokerSilentError(f"{doing}: the broker did not answer in time") from error
    except ProbableAuthenticationError as error:
        raise LoginRefusedError(
            f"{doing}: the broker refused the login; check the user and password in amqp.url"
        ) from error
    except CONNECTION_EXCEPTIONS as error:
        raise BrokerAwayError(f"{doing}: {_reason(error)}") from error
    except Exception as error:
        # aiormq (base.py, FutureStore) rejects what still waits with a bare Exception when it closes without a reason.
        if type(error) is Exception:
            raise BrokerAwayError(f"{doing}: the connection to the broker was closed") from error
        raise


def _reason(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}" if error is not None else "closed"


class LiveConnection:
    """A connection that was open when this was made. ``gone`` is set when it no longer is; ``why`` tells the reason.

    ``user`` is who logged in, None if that is not known; ``node`` is the address without its password.
    """

    def __init__(self, connection: Connection, transport: LenientTransport, *, user: str | None) -> None:
        self._connection = connection
        self._transport = transport
        self.user = user
        self.node = str(connection)
        self.gone = asyncio.Event()
        self.why = ""
        connection.close_callbacks.add(self._on_close)

    def _on_close(self, _: object, error: BaseException | None) -> None:
        self.drop(_reason(error))

    def drop(self, why: str) -> None:
        """Declare it lost; its owner then closes it."""
        if not self.gone.is_set():
            self.why = why
            self.gone.set()

    async def blocked(self) -> bool:
        """The broker has told us to stop publishing (memory or disk alarm)."""
        underlay = self._connection.transport
        if underlay is None or self.gone.is_set():
            return False
        try:
            async with asyncio.timeout(0.01):
                await underlay.ready()
        except TimeoutError:
            return True
        return False

    async def channel(self, *, confirms: bool, seconds: float) -> "LiveChannel":
        """Open a channel. Raises ``BrokerAwayError``."""
        with away_on_loss("opening a channel"):
            channel = self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
            live = LiveChannel(channel, user=self.user)
            async with asyncio.timeout(seconds):
                await channel.initialize()
        return live

    async def close(self) -> None:
        """Close it in order if the broker still answers, else drop the socket. Never raises, never hangs."""
        try:
            with suppress(BrokerAwayError), away_on_loss("closing"):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._connection.close()
        finally:
            # A close that waits to flush into a dead socket would hold it, and its task, until TCP gives up.
            self._transport.abort()
            self.drop("closed")


class LiveChannel:
    """A channel and the event of its end. ``user`` is who logged in on its connection."""

    def __init__(self, channel: AbstractChannel, *, user: str | None) -> None:
        self.channel = channel
        self.user = user
        self.gone = asyncio.Event()
        self.why = ""
        channel.close_callbacks.add(self._on_close)

    def _on_close(self, _: object, error: BaseException | None) -> None:
        self.drop(_reason(error))

    def drop(self, why: str) -> None:
        if not self.gone.is_set():
            self.why = why
            self.gone.set()

    async def close(self) -> None:
        """Close it; what was delivered on it and not acknowledged goes back to its queue."""
        with suppress(BrokerAwayError), away_on_loss("closing a channel"):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.channel.close()
        self.drop("closed")


_TLS_FILES = frozenset({"cafile", "certfile", "keyfile"})


def _tls_advice(error: BrokerAwayError) -> str:
    certificate = "certfile and keyfile"
    if advice := tls_advice(error, setting="amqp.url", ca="cafile", certificate=certificate):
        return advice
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, ConnectionResetError | asyncio.IncompleteReadError):
            # In TLS 1.3 a client is told only after its handshake; the close may overtake the alert.
            return f"it closed the connection; if it wants a client certificate, name one by {certificate} in amqp.url"
        cause = cause.__cause__
    return ""


async def dial(settings: AmqpSettings, address: str, *, seconds: float, name: str, log: Log) -> LiveConnection:
    """Connect to one of the settings' addresses and log in, within ``seconds``. Raises ``BrokerAwayError``."""
    try:
        # For aiormq the heartbeat is a part of the URL. It takes a silent peer for dead after 3 x (heartbeat + 1) s.
        url = make_url(address, heartbeat=settings.heartbeat_seconds)
        connection = Connection(url, client_properties={"connection_name": name})
    except (ValueError, TypeError) as error:
        raise VesemirError("amqp.url is not a URL; write amqp://USER:PASSWORD@HOST:5672/VHOST") from error
    transport = LenientTransport(tls=url.scheme == "amqps", log=log)
    connection.kwargs["transport_factory"] = transport
    try:
        with away_on_loss(f"connecting to {connection}"):
            if missing := missing_files(url.query_string, _TLS_FILES, setting="amqp.url"):
                raise BrokerAwayError(missing)
            async with asyncio.timeout(seconds):
                await connection.connect()
    except BrokerAwayError as error:
        transport.abort()
        if url.scheme == "amqps" and (advice := _tls_advice(error)):
            raise BrokerAwayError(f"connecting to {connection}: {advice}") from error
        raise
    except BaseException:
        transport.abort()
        raise
    log.debug(f"Connected to {connection} as {name}")
    return LiveConnection(connection, transport, user=settings.user_at(address))
