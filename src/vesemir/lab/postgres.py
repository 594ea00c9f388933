"""The lab's PostgreSQL: a cluster of its own, on loopback with a password, without a Unix socket.

It runs under PostgreSQL's account when root starts the lab, since the server refuses root.
"""

import struct

from vesemir.lab.accounts import give, server_account, server_home
from vesemir.lab.programs import PATH, Programs
from vesemir.lab.readiness import exchange, until
from vesemir.lab.resources import template
from vesemir.lab.roster import Roster, RosterProgram
from vesemir.lab.topology import DATABASE, SERVER_USER, LabTopology

_START_SECONDS = 60.0
_INIT_SECONDS = 120.0
_PROTOCOL = 3 << 16


async def start_postgres(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """Make a cluster and its empty database, and start it; returns when it takes connections."""
    account = server_account("postgres")
    home = server_home(topology.places, "postgres", account)
    log = topology.places.log / "postgres.log"
    environment = {"PATH": PATH, "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}
    cluster = home / "cluster"
    password = home / "password"
    password.write_text(topology.password)
    password.chmod(0o600)
    give([password], account)

    def server(name: str, *words: str) -> RosterProgram:
        return RosterProgram(name, words, log=log, environment=environment, account=account, cwd=home, stop="SIGINT")

    await roster.run(
        server(
            "initdb", str(programs.initdb), "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256",
            f"--username={SERVER_USER}", f"--pwfile={password}", f"--pgdata={cluster}",
        ),
        timeout=_INIT_SECONDS,
    )  # fmt: skip
    settings = template("postgresql.conf", ADDRESS=topology.address, PORT=str(topology.postgres_port))
    for name, text in (("postgresql.conf", settings), ("pg_hba.conf", template("pg_hba.conf"))):
        (cluster / name).write_text(text)
    # In single-user mode, so that no client program is needed and nobody else is connected yet.
    make = f'echo \'CREATE DATABASE {DATABASE}\' | "$1" --single -D "$2" postgres'
    await roster.run(
        server("create-database", "/bin/sh", "-c", make, "sh", str(programs.postgres), str(cluster)),
        timeout=_INIT_SECONDS,
    )
    (child,) = roster.start([server("postgres", str(programs.postgres), "-D", str(cluster))])

    async def ready() -> bool:
        # "Message Formats" of PostgreSQL's protocol: a server that is still starting up answers E (an error), one that
        # takes connections asks for the password (R). An SSLRequest would be answered in either case.
        return await exchange(topology.address, topology.postgres_port, say=_startup_message(), hear=1) == b"R"

    await until(ready, what="PostgreSQL", child=child, log=log, timeout=_START_SECONDS)


def _startup_message() -> bytes:
    words = ("user", SERVER_USER, "database", DATABASE)
    body = struct.pack("!I", _PROTOCOL) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    return struct.pack("!I", len(body) + 4) + body
