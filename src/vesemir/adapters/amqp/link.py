"""Keeps one connection to the broker: makes it, makes it again when it is lost, and says how it is."""

import asyncio
import time
from collections.abc import Callable

from vesemir.adapters.amqp.awaiting import Backoff, Slot, any_of
from vesemir.adapters.amqp.connection import LiveConnection
from vesemir.adapters.amqp.nodes import BrokerNodes
from vesemir.adapters.amqp.topology import QueueTopology
from vesemir.adapters.secret_file import SecretFile
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.observe import Log
from vesemir.engine.upkeep.health import PartState
from vesemir.settings import AmqpSettings

Report = Callable[[PartState, str], None]


class Link:
    """``run`` is its life; it never ends because the broker is away. ``live`` holds the connection while it lasts."""

    def __init__(
        self, settings: AmqpSettings, *, name: str, report: Report, log: Log, url: SecretFile | None = None
    ) -> None:
        self._settings = settings
        self._nodes = BrokerNodes(settings, url)
        self._name = name
        self._topology = QueueTopology(settings.namespace)
        self._report = report
        self._log = log
        self._stopping = asyncio.Event()
        self.live: Slot[LiveConnection] = Slot()

    async def run(self) -> None:
        """Until ``stop``: connect, declare the topology, offer the connection, and begin again when it is gone."""
        backoff = Backoff()
        away_since = time.monotonic()
        while not self._stopping.is_set():
            try:
                connection = await self._connect()
            except BrokerAwayError as error:
                self._report(PartState.DOWN, str(error))
                pause = backoff.next()
                away = time.monotonic() - away_since
                self._log.warning(f"{error}; next try in {pause:.1f} s (away for {away:.0f} s)")
                await any_of(self._stopping.wait(), timeout=pause)
                continue
            backoff.reset()
            await self._offer(connection)
            self._nodes.skip()
            away_since = time.monotonic()
        self._report(PartState.STOPPING, "")

    def stop(self) -> None:
        """Let ``run`` close the connection and return."""
        self._stopping.set()

    async def _connect(self) -> LiveConnection:
        connection = await self._nodes.dial(name=self._name, log=self._log)
        try:
            await self._topology.declare(connection, seconds=self._settings.connect_timeout_seconds, log=self._log)
        except BaseException:
            # A node cut off from the others lets one log in and then does nothing.
            self._nodes.skip()
            await connection.close()
            raise
        return connection

    async def _offer(self, connection: LiveConnection) -> None:
        self._report(PartState.UP, "")
        at = f" at {connection.node}" if self._nodes.several else ""
        self._log.info(f"Connected to the broker ({self._name}){at}")
        self.live.fill(connection)
        try:
            await any_of(connection.gone.wait(), self._stopping.wait())
            if not self._stopping.is_set():
                self._report(PartState.DOWN, connection.why)
                self._log.warning(f"The connection to the broker ({self._name}) was lost: {connection.why}")
        finally:
            self.live.empty()
            await connection.close()
