"""The nodes of a broker's cluster: tried in turn, each with its share of the time limit, until one answers.

Every connection has its own turn, so publisher and consumer may be on different nodes. Where a connection was lost, or
where the node did not do what it was asked for, the next try begins with the next node: one that is cut off from the
others still takes connections.
"""

import asyncio

from vesemir.adapters.amqp.connection import LiveConnection, dial
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.observe import Log, SilentLog
from vesemir.settings import AmqpSettings


class BrokerNodes:
    """``dial`` connects to any of them; ``skip`` says that the one that it found is no good."""

    def __init__(self, settings: AmqpSettings) -> None:
        self._settings = settings
        self._addresses = settings.addresses
        self._turn = 0

    @property
    def several(self) -> bool:
        return len(self._addresses) > 1

    def skip(self) -> None:
        """Begin with the next one next time."""
        self._turn = (self._turn + 1) % len(self._addresses)

    async def dial(self, *, name: str, log: Log) -> LiveConnection:
        """Connect and log in, within ``connect_timeout_seconds``. Raises ``BrokerAwayError`` with what each said."""
        clock = asyncio.get_running_loop().time
        until = clock() + self._settings.connect_timeout_seconds
        reasons: list[str] = []
        for left in range(len(self._addresses), 0, -1):
            try:
                # What one did not use, the others have.
                share = max(until - clock(), 0.0) / left
                return await dial(self._settings, self._addresses[self._turn], seconds=share, name=name, log=log)
            except BrokerAwayError as error:
                reasons.append(str(error))
                self.skip()
        raise BrokerAwayError("; ".join(reasons))


async def answering(settings: AmqpSettings, *, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which of the nodes answer, without their passwords, and why the others do not."""
    share = settings.connect_timeout_seconds / len(settings.addresses)

    async def asked(address: str) -> tuple[str, str]:
        try:
            connection = await dial(settings, address, seconds=share, name=name, log=SilentLog())
        except BrokerAwayError as error:
            return "", str(error)
        await connection.close()
        return connection.node, ""

    found = await asyncio.gather(*(asked(address) for address in settings.addresses))
    return tuple(node for node, _ in found if node), tuple(reason for _, reason in found if reason)
