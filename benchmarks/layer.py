"""Our SSH layer alone, as a program: log in to every host at once and, for ``true``, run it there.

python -m benchmarks.layer login|true HOSTS_FILE PORT CLIENT_KEY KNOWN_HOSTS
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from vesemir.adapters.ssh.dialer import Dialer
from vesemir.domain.target import Target
from vesemir.settings import SshSettings


async def main(what: str, hosts_file: str, port: str, client_key: str, known_hosts: str) -> int:
    settings = SshSettings(
        user="root", client_key=Path(client_key), known_hosts=Path(known_hosts), login_timeout_seconds=120,
        connect_timeout_seconds=60,
    )  # fmt: skip
    async with Dialer.started(settings) as dialer:

        async def one(address: str) -> bool:
            async with dialer.connection(Target(address, address, int(port))) as connection:
                if what == "login":
                    return True
                process = await connection.create_process("true", encoding=None)
                await process.wait_closed()
                return process.exit_status == 0

        done = await asyncio.gather(*map(one, Path(hosts_file).read_text().split()))
    print(f"ok {sum(done)}")
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main(*sys.argv[1:])))
