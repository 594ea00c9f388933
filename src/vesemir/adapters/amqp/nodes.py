"""The nodes of a broker's cluster: tried in turn, each with its share of the time limit, until one answers.

Every connection has its own turn, so publisher and consumer may be on different nodes. Where a connection was lost, or
where the node did not do what it was asked for, the next try begins with the next node: one that is cut off from the
others still takes connections.
"""

import asyncio

from vesemir.adapters.amqp.connection import LiveConnection, LoginRefusedError, dial
from vesemir.adapters.secret_file import SecretFile
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.observe import Log, SilentLog
from vesemir.settings import AmqpSettings


class BrokerNodes:
    """``dial`` connects to any of them; ``skip`` says that the one that it found is no good."""

    def __init__(self, settings: AmqpSettings, url: SecretFile | None = None) -> None:
        """``url`` is the setting's file, which may have other addresses by and by."""
        self._settings = settings
        self._url = url or SecretFile.fixed("amqp.url", "\n".join(settings.addresses))
        self._addresses = settings.addresses
        self._turn = 0

    @property
    def several(self) -> bool:
        return len(self._addresses) > 1

    def skip(self) -> None:
        """Begin with the next one next time."""
        self._turn = (self._turn + 1) % len(self._addresses)

    async def dial(self, *, name: str, log: Log) -> LiveConnection:
        """Connect and log in, within ``connect_timeout_seconds``. Raises ``BrokerAwayError`` with what each said.

        Where a login is refused, its file is read again, and all of it tried once more if it has changed.
        """
        used = self._use(self._url.current)
        try:
            return await self._dialed(name=name, log=log)
        except LoginRefusedError:
            renewed = await self._url.renewed(used)
            if renewed is None:
                raise
            self._use(renewed)
            return await self._dialed(name=name, log=log)

    def _use(self, url: str) -> str:
        addresses = tuple(url.split())
        if addresses != self._addresses:
            self._addresses, self._turn = addresses, 0
        return url

    async def _dialed(self, *, name: str, log: Log) -> LiveConnection:
        clock = asyncio.get_running_loop().time
        until = clock() + self._settings.connect_timeout_seconds
        errors: list[BrokerAwayError] = []
        for left in range(len(self._addresses), 0, -1):
            try:
                # What one did not use, the others have.
                share = max(until - clock(), 0.0) / left
                return await dial(self._settings, self._addresses[self._turn], seconds=share, name=name, log=log)
            except BrokerAwayError as error:
                errors.append(error)
                self.skip()
        refused = any(isinstance(error, LoginRefusedError) for error in errors)
        raise (LoginRefusedError if refused else BrokerAwayError)("; ".join(map(str, errors)))


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
