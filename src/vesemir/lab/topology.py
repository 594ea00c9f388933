"""What a lab consists of, decided before anything starts: names, addresses, ports, passwords."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from vesemir.lab.accounts import login_user
from vesemir.lab.network import MOST_BALANCERS, MOST_BOXES, Ports, Slice
from vesemir.lab.places import LabError, Places

APPLICATION = "shop"
ENVIRONMENT = "production"
BACKEND = "shop"
DATABASE = "vesemir"
SERVER_USER = "vesemir"
"""The lab's user in RabbitMQ and in PostgreSQL."""
CHEF_CLIENT = "vesemir"
"""The lab's client on its Chef server."""


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
class Topology:
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

    @property
    def chef_url(self) -> str:
        return f"http://{self.address}:{self.chef_port}"

    @property
    def chef_key(self) -> Path:
        return self.places.within("keys") / "chef_client.pem"

    @property
    def amqp_url(self) -> str:
        """With the virtual host spelt out: clients disagree on what a bare slash means."""
        return f"amqp://{SERVER_USER}:{self.password}@{self.address}:{self.amqp_port}/%2F"

    @property
    def postgres_dsn(self) -> str:
        return f"postgresql://{SERVER_USER}:{self.password}@{self.address}:{self.postgres_port}/{DATABASE}"

    def http_url(self, balancer: Balancer) -> str:
        return f"http://{self.address}:{balancer.http_port}/"

    @property
    def hosts(self) -> tuple[Box, ...]:
        """Every box with an sshd."""
        return (*self.boxes, *(balancer.box for balancer in self.balancers))

    def balancer_of(self, box: Box) -> Balancer | None:
        """None for a box that is none."""
        return next((balancer for balancer in self.balancers if balancer.box == box), None)

    @property
    def client_key(self) -> Path:
        return self.places.within("keys") / "client_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.places.within("keys") / "known_hosts"


def plan(places: Places, *, boxes: int, balancers: int = 1, chef: bool = False) -> Topology:
    """Choose everything for a lab with so many boxes."""
    if not 1 <= boxes <= MOST_BOXES:
        raise LabError(f"--boxes must be between 1 and {MOST_BOXES}, not {boxes}")
    if not 1 <= balancers <= MOST_BALANCERS:
        raise LabError(f"--balancers must be between 1 and {MOST_BALANCERS}, not {balancers}")
    net = Slice.of(places.folder)
    ports = Ports()
    addresses = [net.box(number) for number in range(1, boxes + 1)]
    # One number for all sshds and one for all applications: the addresses tell them apart.
    entries = [net.balancer(number) for number in range(1, balancers + 1)]
    ssh_port = ports.free([*entries, *addresses])
    app_port = ports.free(addresses)
    folder = places.within("boxes")
    return Topology(
        places=places,
        user=login_user(),
        password=secrets.token_hex(16),
        address=net.servers,
        amqp_port=ports.free([net.servers]),
        # Erlang's epmd always listens on plain loopback too, and nodes look for it there.
        epmd_port=ports.free(["127.0.0.1", "::1"]),
        distribution_port=ports.free(["127.0.0.1"]),
        postgres_port=ports.free([net.servers]),
        balancers=tuple(
            Balancer(
                Box(f"lb{number}", address, ssh_port, 0, folder / f"lb{number}", zone="ab"[(number - 1) % 2]),
                program="haproxy" if number == 1 else f"haproxy{number}",
                http_port=ports.free([net.servers]),
                socket=places.socket("haproxy.sock" if number == 1 else f"haproxy{number}.sock"),
            )
            for number, address in enumerate(entries, start=1)
        ),
        boxes=tuple(
            Box(f"web{number}", address, ssh_port, app_port, folder / f"web{number}", zone="ab"[(number - 1) % 2])
            for number, address in enumerate(addresses, start=1)
        ),
        chef_port=ports.free([net.servers]) if chef else None,
    )
