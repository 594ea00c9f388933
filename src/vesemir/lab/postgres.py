"""The lab's PostgreSQL: a cluster of its own, on loopback with a password, without a Unix socket.

It runs under PostgreSQL's account when root starts the lab, since the server refuses root.
"""

import os
import signal
import struct
import subprocess

from vesemir.lab.accounts import give, server_account, server_home
from vesemir.lab.node_programs import remember
from vesemir.lab.programs import PATH, Programs
from vesemir.lab.readiness import Question, exchange, until
from vesemir.lab.resources import template
from vesemir.lab.roster import Roster, RosterProgram
from vesemir.lab.topology import DATABASE, SERVER_USER, LabTopology, ServerNode

_START_SECONDS = 60.0
_INIT_SECONDS = 120.0
_PROTOCOL = 3 << 16


async def start_postgres(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """Make a cluster and its empty database, and start it; returns when it takes connections."""
    home = server_home(topology.places, "postgres", server_account("postgres"))
    node = ServerNode("postgres", topology.address, topology.postgres_port, home)
    await _make(topology, programs, roster, node)
    await _start(topology, programs, roster, node)


async def start_primary_and_standby(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """The second is a copy of the first that follows it; from then on every commit is on both before it is answered."""
    account = server_account("postgres")
    server_home(topology.places, "postgres", account)
    primary, standby = topology.databases
    for node in topology.databases:
        node.home.mkdir(mode=0o700)
        give([node.home], account)
    await _make(topology, programs, roster, primary)
    child = await _start(topology, programs, roster, primary)
    source = (
        f"host={primary.address} port={primary.port} user={SERVER_USER} password={topology.password} "
        f"application_name={standby.name}"
    )
    await roster.run(
        _program(
            topology, standby, "basebackup", str(programs.postgres.with_name("pg_basebackup")), "--no-sync",
            "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--create-slot",
            f"--slot={standby.name}", f"--pgdata={standby.data.resolve()}", f"--dbname={source}",
        ),
        timeout=_INIT_SECONDS,
    )  # fmt: skip
    _configure(standby)
    await _start(topology, programs, roster, standby)
    with (primary.data / "postgresql.conf").open("a") as settings:
        settings.write(f"synchronous_standby_names = '{standby.name}'\n")
    os.kill(child.pid, signal.SIGHUP)


def _program(topology: LabTopology, node: ServerNode, name: str, *words: str) -> RosterProgram:
    home = node.home.resolve()
    environment = {"PATH": PATH, "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}
    log = topology.places.log / f"{node.name}.log"
    account = server_account("postgres")
    return RosterProgram(name, words, log=log, environment=environment, account=account, cwd=home, stop="SIGINT")


def _configure(node: ServerNode) -> None:
    settings = template("postgresql.conf", ADDRESS=node.address, PORT=str(node.port))
    for name, text in (("postgresql.conf", settings), ("pg_hba.conf", template("pg_hba.conf"))):
        (node.data / name).write_text(text)


async def _make(topology: LabTopology, programs: Programs, roster: Roster, node: ServerNode) -> None:
    home, cluster = node.home.resolve(), node.data.resolve()
    password = home / "password"
    password.write_text(topology.password)
    password.chmod(0o600)
    give([password], server_account("postgres"))

    def server(name: str, *words: str) -> RosterProgram:
        return _program(topology, node, name, *words)

    await roster.run(
        server(
            "initdb", str(programs.initdb), "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256",
            f"--username={SERVER_USER}", f"--pwfile={password}", f"--pgdata={cluster}",
        ),
        timeout=_INIT_SECONDS,
    )  # fmt: skip
    _configure(node)
    # In single-user mode, so that no client program is needed and nobody else is connected yet.
    make = f'echo \'CREATE DATABASE {DATABASE}\' | "$1" --single -D "$2" postgres'
    await roster.run(
        server("create-database", "/bin/sh", "-c", make, "sh", str(programs.postgres), str(cluster)),
        timeout=_INIT_SECONDS,
    )


async def _start(
    topology: LabTopology, programs: Programs, roster: Roster, node: ServerNode
) -> "subprocess.Popen[bytes]":
    program = _program(topology, node, node.name, str(programs.postgres), "-D", str(node.data.resolve()))
    (child,) = roster.start([program])
    ready = takes_connections(node.address, node.port)
    await until(ready, what="PostgreSQL", child=child, log=program.log, timeout=_START_SECONDS)
    if topology.databases:
        remember(topology.places, program)
    return child


def takes_connections(address: str, port: int) -> Question:
    """Whether a PostgreSQL lets clients in there."""

    async def asked() -> bool:
        # "Message Formats" of PostgreSQL's protocol: a server that is still starting up answers E (an error), one that
        # takes connections asks for the password (R). An SSLRequest would be answered in either case.
        return await exchange(address, port, say=_startup_message(), hear=1) == b"R"

    return asked


def _startup_message() -> bytes:
    words = ("user", SERVER_USER, "database", DATABASE)
    body = struct.pack("!I", _PROTOCOL) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    return struct.pack("!I", len(body) + 4) + body
