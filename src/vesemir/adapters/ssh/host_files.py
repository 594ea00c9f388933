"""Files for a host: by SFTP, and by commands of the session where a host has no usable SFTP."""

import asyncio
import contextlib
import functools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import asyncssh

from vesemir.adapters.ssh.errands import PIECE_BYTES, Errands
from vesemir.adapters.ssh.naming import file_name
from vesemir.adapters.ssh.sftp import NoSftpError, SftpFailureError, sftp_client, why_ended
from vesemir.adapters.ssh.trouble import connection_lost, place, violated
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.engine.ports.observe import Log

UPLOAD_SECONDS: Final = 3600.0

_Put = Callable[[asyncssh.SFTPClient, str], Awaitable[None]]


class HostFiles:
    """Of one session. That SFTP is not there is found out once, and logged."""

    def __init__(
        self, target: Target, connection: asyncssh.SSHClientConnection, errands: Errands, *, incoming: str, log: Log
    ) -> None:
        self._target = target
        self._connection = connection
        self._errands = errands
        self._incoming = incoming
        self._log = log
        self._no_sftp = ""

    async def upload(self, source: Path, name: str) -> str:
        """``engine.ports.hosts.Host.upload``."""

        async def put(sftp: asyncssh.SFTPClient, path: str) -> None:
            await sftp.put(str(source), path)

        try:
            with source.open("rb"):  # only whether it can be opened, before anything is sent
                pass
            return await self._place(put, functools.partial(_pieces_of_file, source), name)
        except OSError as error:
            text = f"{source} cannot be read: {error.strerror or error}; check artifacts.roots and the file's mode"
            raise FailedError(FailureCode.ARTIFACT_UNAVAILABLE, text) from error

    async def write(self, content: bytes, name: str) -> str:
        """``engine.ports.hosts.Host.write``."""

        async def put(sftp: asyncssh.SFTPClient, path: str) -> None:
            async with sftp.open(path, "wb") as file:
                await file.write(content)

        return await self._place(put, functools.partial(_pieces_of, content), name)

    async def _place(self, put: _Put, pieces: Callable[[], AsyncIterator[bytes]], name: str) -> str:
        """Under another name first, so that nobody ever sees half of it.

        By SFTP; where that is not there, or fails without a reason, once by the session, whose words count.
        """
        path = f"{self._incoming}/{file_name(name) if '/' in name or name.startswith('.') else name}"
        part = f"{self._incoming}/.{secrets.token_hex(8)}.part"
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                if not await self._placed_by_sftp(put, part, path):
                    await self._errands.put(pieces(), part, path)
        except TimeoutError as error:
            raise connection_lost(self._target, f"an upload took more than {UPLOAD_SECONDS:g} s") from error
        except SftpFailureError as error:
            without = f" (sent through the session: SFTP is not available: {self._no_sftp})" if self._no_sftp else ""
            text = f"{place(self._target)} does not take {path}: {error}; check free space and rights there{without}"
            raise FailedError(FailureCode.STEP_FAILED, text) from error
        return path

    async def _placed_by_sftp(self, put: _Put, part: str, path: str) -> bool:
        """False where the session has to do it."""
        if self._no_sftp:
            return False
        try:
            async with sftp_client(self._connection) as sftp:
                await _put_in_place(sftp, put, part, path)
        except (NoSftpError, asyncssh.SFTPConnectionLost, asyncssh.ConnectionLost, ConnectionError) as error:
            # Of its channel: the connection may be there, and is not lost then.
            self.without_sftp(why_ended(error))
            return False
        except asyncssh.SFTPFailure:
            return False  # all that SFTP says of a full disk, for instance, is "Failure"
        except asyncssh.SFTPError as error:
            raise SftpFailureError(words_of_host(error.reason)) from error
        except (ValueError, IndexError) as error:  # what asyncssh's parser says of replies that are none
            raise violated(self._target, f"its SFTP server sends replies that are none: {error}") from error
        return True

    def without_sftp(self, why: str) -> None:
        """Raises ``FailedError`` when the whole connection is gone."""
        if self._connection.is_closed():
            raise connection_lost(self._target, why)
        self._no_sftp = why
        self._log.warning(
            "{target} has no usable SFTP: {why}; files go through the session, which is slower",
            target=self._target.name,
            why=why,
        )

    async def look(self) -> None:
        """Whether files can be sent, one way or the other. Raises ``FailedError``."""
        try:
            async with sftp_client(self._connection):
                pass
        except NoSftpError as error:
            self.without_sftp(str(error))
            await self._errands.look(self._target, f"SFTP is not available: {error}")
        except (ValueError, IndexError) as error:
            raise violated(self._target, f"its SFTP server sends replies that are none: {error}") from error


async def _put_in_place(sftp: asyncssh.SFTPClient, put: _Put, part: str, path: str) -> None:
    try:
        await put(sftp, part)
        await sftp.chmod(part, 0o600)
        await sftp.posix_rename(part, path)
    except asyncssh.SFTPError:
        with contextlib.suppress(asyncssh.SFTPError):
            await sftp.unlink(part)
        raise


async def _pieces_of(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


async def _pieces_of_file(source: Path) -> AsyncIterator[bytes]:
    """Read in a thread: it may be on a slow disk."""
    with source.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
