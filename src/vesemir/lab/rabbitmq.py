"""The lab's RabbitMQ: a node of its own with its own epmd, cookie, database, plugins and log.

It runs under RabbitMQ's account when root starts the lab. Every path that the server's scripts would take from
``/etc/rabbitmq`` or ``/var/lib/rabbitmq`` is named here, so that the machine's own node is neither read nor touched.
"""

import secrets

from vesemir.lab.accounts import give, server_account, server_home
from vesemir.lab.network import LabPorts
from vesemir.lab.places import LabError
from vesemir.lab.programs import PATH, Programs
from vesemir.lab.readiness import exchange, until
from vesemir.lab.resources import template
from vesemir.lab.roster import Roster, RosterProgram
from vesemir.lab.topology import SERVER_USER, LabTopology

_START_SECONDS = 90.0
_TRIES = 3
_PORT_TAKEN = "dist_port_already_used"
LOOPBACK = "127.0.0.1"
_SMALL = "+S 2:2 +SDio 4 +A 2"
"""Two schedulers and few threads: a lab is small, whatever the machine is."""


async def start_rabbitmq(topology: LabTopology, programs: Programs, roster: Roster) -> None:
    """Start epmd and the node; returns when it speaks AMQP."""
    account = server_account("rabbitmq")
    log = topology.places.log / "rabbitmq.log"
    environment = _environment(topology)
    epmd = RosterProgram(
        "epmd",
        [str(programs.epmd), "-port", str(topology.epmd_port), "-address", LOOPBACK],
        log=topology.places.log / "epmd.log",
        environment=environment,
        account=account,
    )
    roster.start([epmd])

    async def speaks() -> bool:
        # AMQP 0-9-1, 4.2.2: the server answers the protocol header with Connection.Start, a method frame (1).
        return await exchange(topology.address, topology.amqp_port, say=b"AMQP\x00\x00\x09\x01", hear=1) == b"\x01"

    for left in reversed(range(_TRIES)):
        words = [str(programs.rabbitmq_server)]
        node = RosterProgram("rabbitmq", words, log=log, environment=environment, account=account)
        (child,) = roster.start([node])
        try:
            await until(speaks, what="RabbitMQ", child=child, log=log, timeout=_START_SECONDS)
        except LabError as error:
            if not left or _PORT_TAKEN not in str(error):
                raise
            # Free when it was chosen, seconds ago. All other ports are on addresses of the lab's own.
            environment = {**environment, "RABBITMQ_DIST_PORT": str(LabPorts().free([LOOPBACK]))}
            roster.entries = [entry for entry in roster.entries if entry.pid != child.pid]
        else:
            return


def _environment(topology: LabTopology) -> dict[str, str]:
    """Write the node's files and name them all; rabbitmq-server(8) has the variables."""
    account = server_account("rabbitmq")
    home = server_home(topology.places, "rabbitmq", account)
    folders = {name: home / name for name in ("mnesia", "log", "conf.d", "generated")}
    for folder in folders.values():
        folder.mkdir()
    written = {
        home / "rabbitmq.conf": template(
            "rabbitmq.conf",
            ADDRESS=topology.address,
            PORT=str(topology.amqp_port),
            USER=SERVER_USER,
            PASSWORD=topology.password,
        ),
        home / "advanced.config": "[].\n",
        home / "enabled_plugins": "[].\n",
        home / "rabbitmq-env.conf": "",
        home / ".erlang.cookie": secrets.token_hex(16),
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
        "RABBITMQ_NODENAME": f"lab-{topology.amqp_port}@localhost",
        "RABBITMQ_DIST_PORT": str(topology.distribution_port),
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
