"""What a lab consists of, decided before anything starts: names, addresses, ports, passwords."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from vesemir.lab.accounts import login_user
from vesemir.lab.network import MOST_BALANCERS, MOST_BOXES, MOST_MACHINES, LabPorts, Slice
from vesemir.lab.places import LabError, Places

APPLICATION = "shop"
ENVIRONMENT = "production"
BACKEND = "shop"
DATABASE = "vesemir"
BASTION = "bastion"
JUMPED = 2
"""Boxes behind the jump host."""
SERVER_USER = "vesemir"
"""The lab's user in RabbitMQ and in PostgreSQL."""
BROKERS = 3
"""Of a cluster: quorum queues live as long as two of them do."""
CHEF_CLIENT = "vesemir"
"""The lab's client on its Chef server."""
DEPLOY_USER = "deploy"
"""Who logs in to machines, which have accounts of their own; boxes without a systemd share those of this machine."""
SOCKETS = "/srv/haproxy"
"""Where the load balancer's machine finds the runtime socket of the lab's HAProxy."""


@dataclass(frozen=True, slots=True)
class Box:
    """One host of the lab. ``root`` is its own folder on disk; ``port`` is its sshd's."""

    name: str
    address: str
    port: int
    app_port: int
    root: Path
    zone: str

    @property
    def app_root(self) -> Path:
        return self.root / "srv" / APPLICATION

    @property
    def systemctl(self) -> Path:
        return self.root / "bin" / "systemctl"

    @property
    def state_dir(self) -> Path:
        """Where the supervisor keeps lock, epochs and markers: boxes share a home, so each has its own."""
        return self.root / "var" / "lib" / "vesemir"

    @property
    def health_url(self) -> str:
        return f"http://{self.address}:{self.app_port}/"


@dataclass(frozen=True, slots=True)
class Balancer:
    """One HAProxy and the box that it is administered over. ``program`` is its name among the lab's processes."""

    box: Box
    program: str
    http_port: int
    socket: Path


@dataclass(frozen=True, slots=True)
class ServerNode:
    """A RabbitMQ or PostgreSQL of a lab that has several. ``name`` is its name among the lab's processes too."""

    name: str
    address: str
    port: int
    home: Path
    distribution_port: int = 0
    """Where a RabbitMQ node speaks with the others."""

    @property
    def data(self) -> Path:
        """Where it keeps what must survive a restart."""
        return self.home / ("mnesia" if self.distribution_port else "cluster")


@dataclass(frozen=True, slots=True)
class LabTopology:
    """The whole lab."""

    places: Places
    user: str
    password: str
    address: str
    amqp_port: int
    epmd_port: int
    distribution_port: int
    postgres_port: int
    balancers: tuple[Balancer, ...]
    """All in front of the same boxes; the first is the one that ``lab.json`` has outside of its list."""
    boxes: tuple[Box, ...]
    chef_port: int | None = None
    """None: without a Chef server."""
    machines: bool = False
    """Whether the boxes boot a systemd of their own and have a root tree and accounts of their own."""
    bare: tuple[Box, ...] = ()
    """Machines with nothing on them yet."""
    brokers: tuple[ServerNode, ...] = ()
    """The nodes of the cluster; empty for a single RabbitMQ. The first has ``amqp_port``."""
    databases: tuple[ServerNode, ...] = ()
    """Primary and standby; empty for a single PostgreSQL. The first has ``postgres_port``."""
    bastion: Box | None = None
    """The jump host; None: without one."""
    jumped: tuple[Box, ...] = ()
    """Boxes that are reached only through it, and are not behind HAProxy, which cannot reach them either."""

    @property
    def chef_url(self) -> str:
        return f"http://{self.address}:{self.chef_port}"

    @property
    def chef_key(self) -> Path:
        return self.places.within("keys") / "chef_client.pem"

    @property
    def amqp_url(self) -> str:
        """With the virtual host spelt out: clients disagree on what a bare slash means."""
        return self._amqp_url(self.amqp_port)

    @property
    def amqp_urls(self) -> tuple[str, ...]:
        """Of each node of a cluster."""
        return tuple(self._amqp_url(node.port) for node in self.brokers)

    def _amqp_url(self, port: int) -> str:
        return f"amqp://{SERVER_USER}:{self.password}@{self.address}:{port}/%2F"

    @property
    def postgres_dsn(self) -> str:
        """Names the standby too, if there is one."""
        ports = [node.port for node in self.databases] or [self.postgres_port]
        hosts = ",".join(f"{self.address}:{port}" for port in ports)
        writable = "?target_session_attrs=read-write" if self.databases else ""
        return f"postgresql://{SERVER_USER}:{self.password}@{hosts}/{DATABASE}{writable}"

    def http_url(self, balancer: Balancer) -> str:
        return f"http://{self.address}:{balancer.http_port}/"

    @property
    def hosts(self) -> tuple[Box, ...]:
        """Every box with an sshd in this machine's network."""
        return (*self.boxes, *self.bare, *(balancer.box for balancer in self.balancers))

    @property
    def all_hosts(self) -> tuple[Box, ...]:
        """With the jump host, and those behind it."""
        return (*self.hosts, *((self.bastion,) if self.bastion else ()), *self.jumped)

    @property
    def served(self) -> tuple[Box, ...]:
        """Every box with the application."""
        return (*self.boxes, *self.jumped)

    def balancer_of(self, box: Box) -> Balancer | None:
        """None for a box that is none."""
        return next((balancer for balancer in self.balancers if balancer.box == box), None)

    @property
    def client_key(self) -> Path:
        return self.places.within("keys") / "client_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.places.within("keys") / "known_hosts"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What kind of lab it shall be. ``bare`` is how many machines there are beside the boxes, with nothing on them."""

    boxes: int
    balancers: int = 1
    chef: bool = False
    machines: bool = False
    bare: int = 0
    ha: bool = False
    """A cluster of three RabbitMQ nodes, and a PostgreSQL with a synchronous standby."""
    bastion: bool = False

    def __post_init__(self) -> None:
        """Raises ``LabError`` for what no lab can be."""
        most = MOST_MACHINES if self.machines else MOST_BOXES
        if not 1 <= self.boxes <= most:
            raise LabError(f"--boxes must be between 1 and {most}, not {self.boxes}")
        if not 1 <= self.balancers <= MOST_BALANCERS:
            raise LabError(f"--balancers must be between 1 and {MOST_BALANCERS}, not {self.balancers}")
        if self.bare and not self.machines:
            raise LabError("--bare needs --systemd: only machines can be bare")
        if self.bastion and self.machines:
            raise LabError("--bastion is for boxes without a systemd: leave --systemd out")
        if not 0 <= self.bare <= most:
            raise LabError(f"--bare must be between 0 and {most}, not {self.bare}")


def plan(places: Places, wanted: Wanted) -> LabTopology:
    """Choose everything for a lab of that kind."""
    net = Slice.of(places.folder)
    ports = LabPorts()
    last = wanted.boxes + wanted.bare
    addresses = [net.box(number) for number in range(1, last + 1)]
    jumped = [net.box(last + number) for number in range(1, JUMPED + 1)] if wanted.bastion else []
    # One number for all sshds and one for all applications: the addresses tell them apart.
    entries = [net.balancer(number) for number in range(1, wanted.balancers + 1)]
    ssh_port = ports.free([*entries, *addresses, net.bastion, *jumped])
    app_port = ports.free([*addresses, *jumped])
    folder = places.within("boxes")

    def box(name: str, address: str, *, zone: str = "a", port: int = 0) -> Box:
        root = folder / name / "root" if wanted.machines else folder / name
        return Box(name, address, ssh_port, port, root, zone)

    brokers, databases = _nodes(places, net.servers, ports) if wanted.ha else ((), ())
    return LabTopology(
        places=places,
        user=DEPLOY_USER if wanted.machines else login_user(),
        password=secrets.token_hex(16),
        address=net.servers,
        amqp_port=brokers[0].port if brokers else ports.free([net.servers]),
        # Erlang's epmd always listens on plain loopback too, and nodes look for it there.
        epmd_port=ports.free(["127.0.0.1", "::1"]),
        distribution_port=ports.free(["127.0.0.1"]),
        postgres_port=databases[0].port if databases else ports.free([net.servers]),
        balancers=tuple(
            Balancer(
                box(f"lb{number}", address, zone="ab"[(number - 1) % 2]),
                program="haproxy" if number == 1 else f"haproxy{number}",
                http_port=ports.free([net.servers]),
                socket=places.socket("haproxy.sock" if number == 1 else f"haproxy{number}.sock"),
            )
            for number, address in enumerate(entries, start=1)
        ),
        boxes=tuple(
            box(f"web{number}", address, zone="ab"[(number - 1) % 2], port=app_port)
            for number, address in enumerate(addresses[: wanted.boxes], start=1)
        ),
        chef_port=ports.free([net.servers]) if wanted.chef else None,
        machines=wanted.machines,
        bare=tuple(box(f"bare{number}", address) for number, address in enumerate(addresses[wanted.boxes :], start=1)),
        brokers=brokers,
        databases=databases,
        bastion=box(BASTION, net.bastion) if wanted.bastion else None,
        jumped=tuple(box(f"jumped{number}", each, port=app_port) for number, each in enumerate(jumped, start=1)),
    )


def _nodes(places: Places, address: str, ports: LabPorts) -> tuple[tuple[ServerNode, ...], tuple[ServerNode, ...]]:
    rabbits = [f"rabbit{number}" for number in range(1, BROKERS + 1)]
    brokers = tuple(
        ServerNode(name, address, ports.free([address]), places.within("rabbitmq") / name, ports.free(["127.0.0.1"]))
        for name in rabbits
    )
    databases = tuple(
        ServerNode(name, address, ports.free([address]), places.within("postgres") / name)
        for name in ("postgres1", "postgres2")
    )
    return brokers, databases
