"""A look at the jump hosts before anything depends on them, for ``vesemir check``: each is logged in to, through those
before it, and asked to pass one connection on to a host behind it. Nothing is run there, and no host behind it logged
in to.
"""

import asyncio
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final

import asyncssh

from vesemir.adapters.ssh.dialer import Dialer
from vesemir.adapters.ssh.host_connection import HostConnection
from vesemir.adapters.ssh.jump_hosts import FindHost, JumpHost
from vesemir.adapters.ssh.trouble import place
from vesemir.adapters.ssh.ways import forwarding_refused
from vesemir.domain.failure import FailedError
from vesemir.domain.jump import parse_jumps
from vesemir.domain.target import Target
from vesemir.settings import SshSettings

MOST: Final = 20
"""Jump hosts that are looked at: a look, not an inventory of its own."""
AT_ONCE: Final = 8
SECONDS: Final = 30.0
"""For all of them."""
CONNECT_SECONDS: Final = 5.0
LOGIN_SECONDS: Final = 10.0
"""For one, where the settings have no less: a daemon may be patient, a person at a terminal is not."""
FORWARD_SECONDS: Final = 3.0

Ways = Mapping[str, Target | None]
"""Jump hosts as the operator writes them, with one host behind them; None where none is known."""


@dataclass(frozen=True, slots=True)
class JumpLook:
    """What came of one jump host, in words."""

    text: str
    ok: bool


async def look_at_jumps(settings: SshSettings, ways: Ways, find: FindHost) -> tuple[list[JumpLook], int]:
    """One for each jump host on each way to it, within ``SECONDS``; and the number of those that are too many. Raises
    ``FailedError`` when key or known hosts cannot be read, and ``ValueError`` for a way that is none."""
    async with Dialer.started(_hasty(settings), find_host=find) as dialer:
        behind: dict[JumpHost, Target | None] = {}
        for text, target in ways.items():
            way = await dialer.jumps.along(parse_jumps(text))
            for jump in way:
                behind.setdefault(jump, None)
            if way and behind[way[-1]] is None:
                behind[way[-1]] = target
        chosen = list(behind)[:MOST]
        looks = await _all_looked_at({jump: behind[jump] for jump in chosen})
        return looks, len(behind) - len(chosen)


def _hasty(settings: SshSettings) -> SshSettings:
    """One try of each that is away, which the daemon makes for ``jump_wait_seconds``."""
    return settings.model_copy(
        update={
            "connect_timeout_seconds": min(settings.connect_timeout_seconds, CONNECT_SECONDS),
            "login_timeout_seconds": min(settings.login_timeout_seconds, LOGIN_SECONDS),
            "jump_wait_seconds": 0.0,
        }
    )


async def _all_looked_at(behind: Mapping[JumpHost, Target | None]) -> list[JumpLook]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def look(jump: JumpHost) -> str:
        async with turns:
            return await _looked_at(jump, behind[jump])

    tasks = {jump: asyncio.create_task(look(jump)) for jump in behind}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=SECONDS)
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    failed = {jump for jump, task in tasks.items() if task.cancelled() or task.exception() is not None}
    return [_told(jump, task, failed) for jump, task in tasks.items()]


async def _looked_at(jump: JumpHost, target: Target | None) -> str:
    """Raises ``FailedError``."""
    async with jump.passage() as connection:
        text = f"logged in as {connection.get_extra_info('username')}"
        if target is None:
            return text
        answer = await _passed_on(connection, jump, target)
        return f"{text}, and it passes connections on ({target.name}{answer})"


async def _passed_on(connection: HostConnection, jump: JumpHost, target: Target) -> str:
    """Whether the host behind it answers is not the jump host's affair: said, and no failure."""
    try:
        async with asyncio.timeout(FORWARD_SECONDS):
            _reader, writer = await connection.open_connection(target.address, target.port)
    except TimeoutError:
        return f" did not answer within {FORWARD_SECONDS:g} s"
    except (asyncssh.Error, OSError) as error:
        if refused := forwarding_refused(error, jump.target):
            raise refused from error
        return " did not answer"
    writer.close()
    return " answers"


def _before(jump: JumpHost) -> list[JumpHost]:
    """The first one first."""
    return [] if jump.before is None else [*_before(jump.before), jump.before]


def _told(jump: JumpHost, task: "asyncio.Task[str]", failed: Container[JumpHost]) -> JumpLook:
    way = _before(jump)
    through = f" through {', '.join(each.target.name for each in way)}" if way else ""
    name = f"{place(jump.target)}{through}"
    if dead := next((each for each in way if each in failed), None):
        return JumpLook(f"{name}: not tried, because {dead.target.name} before it is not available", ok=False)
    if task.cancelled():
        return JumpLook(f"{name}: not finished within {SECONDS:g} s; look at its load and its sshd's log", ok=False)
    error = task.exception()
    if error is None:
        return JumpLook(f"{name}: {task.result()}", ok=True)
    if isinstance(error, FailedError):
        return JumpLook(error.failure.message, ok=False)
    raise error
