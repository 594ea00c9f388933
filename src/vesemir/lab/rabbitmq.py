"""The lab's RabbitMQ: a node of its own with its own epmd, cookie, database, plugins and log.

It runs under RabbitMQ's account when root starts the lab. Every path that the server's scripts would take from
``/etc/rabbitmq`` or ``/var/lib/rabbitmq`` is named here, so that the machine's own node is neither read nor touched.
"""

import asyncio
import secrets

from vesemir.lab.accounts import give, server_account, server_home
from vesemir.lab.network import LabPorts
from vesemir.lab.node_programs import remember
from vesemir.lab.places import LabError
from vesemir.lab.programs import PATH, Programs
from vesemir.lab.readiness import Question, exchange, until
from vesemir.lab.resources import template
from vesemir.lab.roster import Roster, RosterProgram
from vesemir.lab.topology import SERVER_USER, LabTopology, ServerNode

_START_SECONDS = 90.0
_TRIES = 3
_PORT_TAKEN = "dist_port_already_used"
LOOPBACK = "127.0.0.1"
_SMALL = "+S 2:2 +SDio 4 +A 2"
"""Two schedulers and few threads: a lab is small, whatever the machine is."""


async def start_rabbitmq(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """Start epmd and the node; returns when it speaks AMQP."""
    home = server_home(topology.places, "rabbitmq", server_account("rabbitmq"))
    name = f"lab-{topology.amqp_port}@localhost"
    node = ServerNode("rabbitmq", topology.address, topology.amqp_port, home, topology.distribution_port)
    environment = _environment(topology, node, erlang_name=name, cookie=secrets.token_hex(16))
    _start_epmd(topology, programs, roster, environment)
    await _start_node(topology, programs, roster, node, environment)


async def start_cluster(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """Start epmd and all nodes, which find each other by their configuration; returns when each speaks AMQP."""
    account = server_account("rabbitmq")
    server_home(topology.places, "rabbitmq", account)
    cookie = secrets.token_hex(16)
    environments = []
    for node in topology.brokers:
        node.home.mkdir()
        give([node.home], account)
        environments.append(_environment(topology, node, erlang_name=f"{node.name}@localhost", cookie=cookie))
    _start_epmd(topology, programs, roster, environments[0])
    async with asyncio.TaskGroup() as group:
        for node, environment in zip(topology.brokers, environments, strict=True):
            group.create_task(_start_node(topology, programs, roster, node, environment))


def _start_epmd(topology: LabTopology, programs: Programs, roster: Roster, environment: dict[str, str]) -> None:
    epmd = RosterProgram(
        "epmd",
        [str(programs.epmd), "-port", str(topology.epmd_port), "-address", LOOPBACK],
        log=topology.places.log / "epmd.log",
        environment=environment,
        account=server_account("rabbitmq"),
    )
    roster.start([epmd])


def speaks_amqp(address: str, port: int) -> Question:
    """Whether a broker greets there."""

    async def asked() -> bool:
        # AMQP 0-9-1, 4.2.2: the server answers the protocol header with Connection.Start, a method frame (1).
        return await exchange(address, port, say=b"AMQP\x00\x00\x09\x01", hear=1) == b"\x01"

    return asked


async def _start_node(
    topology: LabTopology, programs: Programs, roster: Roster, node: ServerNode, environment: dict[str, str]
) -> None:
    account = server_account("rabbitmq")
    log = topology.places.log / f"{node.name}.log"
    speaks = speaks_amqp(node.address, node.port)
    for left in reversed(range(_TRIES)):
        words = [str(programs.rabbitmq_server)]
        program = RosterProgram(node.name, words, log=log, environment=environment, account=account)
        (child,) = roster.start([program])
        try:
            await until(speaks, what="RabbitMQ", child=child, log=log, timeout=_START_SECONDS)
        except LabError as error:
            if not left or _PORT_TAKEN not in str(error):
                raise
            # Free when it was chosen, seconds ago. All other ports are on addresses of the lab's own.
            environment = {**environment, "RABBITMQ_DIST_PORT": str(LabPorts().free([LOOPBACK]))}
            roster.entries = [entry for entry in roster.entries if entry.pid != child.pid]
        else:
            if topology.brokers:
                remember(topology.places, program)
            return


def _environment(topology: LabTopology, node: ServerNode, *, erlang_name: str, cookie: str) -> dict[str, str]:
    """Write the node's files and name them all; rabbitmq-server(8) has the variables."""
    account = server_account("rabbitmq")
    home = node.home.resolve()
    folders = {name: home / name for name in ("mnesia", "log", "conf.d", "generated")}
    for folder in folders.values():
        folder.mkdir()
    written = {
        home / "rabbitmq.conf": template(
            "rabbitmq.conf",
            ADDRESS=node.address,
            PORT=str(node.port),
            USER=SERVER_USER,
            PASSWORD=topology.password,
        )
        + _peers(topology.brokers),
        home / "advanced.config": "[].\n",
        home / "enabled_plugins": "[].\n",
        home / "rabbitmq-env.conf": "",
        home / ".erlang.cookie": cookie,
    }
    for file, text in written.items():
        file.write_text(text)
        file.chmod(0o400 if file.name == ".erlang.cookie" else 0o600)
    give([*folders.values(), *written], account)
    return {
        "PATH": PATH,
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(topology.epmd_port),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_CRASH_DUMP_SECONDS": "0",
        # The start script then becomes the node by exec, instead of waiting for it as its parent.
        "RUNNING_UNDER_SYSTEMD": "true",
        "RABBITMQ_NODENAME": erlang_name,
        "RABBITMQ_DIST_PORT": str(node.distribution_port),
        "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(folders["conf.d"]),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folders["mnesia"]),
        "RABBITMQ_LOG_BASE": str(folders["log"]),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folders["generated"]),
        "RABBITMQ_SCHEMA_DIR": str(folders["generated"]),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            f"{_SMALL} -kernel inet_dist_use_interface {{127,0,0,1}} -start_epmd false"
        ),
    }


def _peers(brokers: tuple[ServerNode, ...]) -> str:
    """Who is in the cluster. A minority pauses itself: its clients are sent away, and find the majority."""
    if not brokers:
        return ""
    peers = [
        f"cluster_formation.classic_config.nodes.{number} = {node.name}@localhost"
        for number, node in enumerate(brokers, start=1)
    ]
    return "\n".join(
        (
            "cluster_formation.peer_discovery_backend = classic_config",
            *peers,
            "cluster_partition_handling = pause_minority\n",
        )
    )
