"""Connections as seen from a host: forwarded by its sshd, or made by the host itself where that forwards none."""

from collections.abc import Awaitable
from typing import Final, TypeVar

import asyncssh
import h11

from vesemir.adapters.ssh import forwarding
from vesemir.adapters.ssh.errands import Errands
from vesemir.adapters.ssh.http_exchange import HEAD_LIMIT, HttpExchange, HttpRequest
from vesemir.adapters.ssh.trouble import connection_lost
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.engine.ports.hosts import BODY_LIMIT, HttpAnswer
from vesemir.engine.ports.observe import Log

FORWARDING_REFUSED: Final = (asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE)
"""What sshd answers when it forwards nothing. A port at which nothing listens is OPEN_CONNECT_FAILED."""
LOOK_SECONDS: Final = 5.0

_T = TypeVar("_T")


class HostChecks:
    """Of one session. That nothing is forwarded is found out once, and logged."""

    def __init__(self, target: Target, connection: asyncssh.SSHClientConnection, errands: Errands, *, log: Log) -> None:
        self._target = target
        self._connection = connection
        self._errands = errands
        self._log = log
        self._why_not = ""

    async def http_get(self, url: str, *, timeout: float) -> HttpAnswer:
        """``engine.ports.hosts.Host.http_get``."""
        if not self._why_not:
            try:
                return await self._forwarded(forwarding.http_get(self._connection, url, timeout=timeout))
            except ConnectionError as error:
                self._denied(error)
        request, answer = HttpRequest.of(url), HttpExchange()
        most = BODY_LIMIT + HEAD_LIMIT
        try:
            came = await self._errands.exchange(request.host, request.port, request.sent, most=most, timeout=timeout)
            answer.feed(came)
            if not answer.complete:
                answer.feed(b"")
        except (ConnectionError, h11.ProtocolError) as error:
            raise forwarding.not_available(url, error) from error
        return answer.value

    async def tcp_connect(self, host: str, port: int, *, timeout: float) -> None:
        """``engine.ports.hosts.Host.tcp_connect``."""
        if not self._why_not:
            try:
                await self._forwarded(forwarding.tcp_connect(self._connection, host, port, timeout=timeout))
            except ConnectionError as error:
                self._denied(error)
            else:
                return
        try:
            await self._errands.exchange(host, port, b"", most=0, timeout=timeout)
        except ConnectionError as error:
            raise forwarding.not_available(f"{host}:{port}", error) from error

    async def _forwarded(self, work: Awaitable[_T]) -> _T:
        try:
            return await work
        except (ConnectionError, TimeoutError) as error:
            if self._connection.is_closed():
                raise connection_lost(self._target, words_of_host(str(error))) from error
            raise

    def _denied(self, error: ConnectionError) -> None:
        """Raises it when it says something else."""
        cause = error.__cause__
        if not isinstance(cause, asyncssh.ChannelOpenError) or cause.code not in FORWARDING_REFUSED:
            raise error
        self._why_not = words_of_host(cause.reason)
        self._log.info(
            "{target} forwards no connection ({why}; AllowTcpForwarding, PermitOpen or DisableForwarding in its "
            "sshd_config, or the key's options): checks connect from the host itself",
            target=self._target.name,
            why=self._why_not,
        )

    async def look(self, host: str, port: int) -> None:
        """Whether checks can connect, one way or the other; what listens does not matter. Raises ``FailedError``."""
        try:
            await self._forwarded(forwarding.tcp_connect(self._connection, host, port, timeout=LOOK_SECONDS))
        except TimeoutError:
            return
        except ConnectionError as error:
            try:
                self._denied(error)
            except ConnectionError:
                return
            why = (
                f"its sshd forwards no connection to {host}:{port} ({self._why_not}), and checks by http and tcp go "
                "through one; look at AllowTcpForwarding, PermitOpen and DisableForwarding in its sshd_config, and at "
                "the options of the key in authorized_keys"
            )
            await self._errands.look(self._target, why)
