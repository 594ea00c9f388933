"""A session that leaves nothing on the host: for a dry run, which looks at what a run will need.

It is a supervisor's session without a lane: no lock, no epoch, no marker, no state folder. Its commands have the same
limits, beats and end as a step's.
"""

from typing import Final

from vesemir.adapters.ssh.host import SshHost
from vesemir.adapters.ssh.onhost.wire import UNASKED
from vesemir.domain.step import Command, StepKey, StepResult

OUTPUT_BYTES: Final = UNASKED
"""A session without a lane sends its output at once; more than this would have to be asked for."""


class SshLook:
    """``vesemir.engine.ports.hosts.Look``."""

    def __init__(self, host: SshHost) -> None:
        self._host = host

    async def run(self, key: StepKey, command: Command) -> StepResult:
        limit = min(command.output_limit, OUTPUT_BYTES)
        bounded = Command(
            command.argv, command.environment, command.timeout, command.sudo, command.cwd, output_limit=limit
        )
        return await self._host.run(key, bounded)

    async def try_sftp(self) -> None:
        await self._host.files.look()

    async def try_forwarding(self, host: str, port: int) -> None:
        await self._host.checks.look(host, port)
