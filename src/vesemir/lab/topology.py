"""What a lab consists of, decided before anything starts: names, addresses, ports, passwords."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from vesemir.lab.accounts import login_user
from vesemir.lab.network import MOST_BOXES, Ports, Slice
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
    http_port: int
    haproxy_socket: Path
    balancer: Box
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

    @property
    def http_url(self) -> str:
        return f"http://{self.address}:{self.http_port}/"

    @property
    def client_key(self) -> Path:
        return self.places.within("keys") / "client_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.places.within("keys") / "known_hosts"


def plan(places: Places, *, boxes: int, chef: bool = False) -> Topology:
    """Choose everything for a lab with so many boxes."""
    if not 1 <= boxes <= MOST_BOXES:
        raise LabError(f"--boxes must be between 1 and {MOST_BOXES}, not {boxes}")
    net = Slice.of(places.folder)
    ports = Ports()
    addresses = [net.box(number) for number in range(1, boxes + 1)]
    # One number for all sshds and one for all applications: the addresses tell them apart.
    ssh_port = ports.free([net.balancer, *addresses])
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
        http_port=ports.free([net.servers]),
        haproxy_socket=places.socket("haproxy.sock"),
        balancer=Box("lb1", net.balancer, ssh_port, 0, folder / "lb1", zone="a"),
        boxes=tuple(
            Box(f"web{number}", address, ssh_port, app_port, folder / f"web{number}", zone="ab"[(number - 1) % 2])
            for number, address in enumerate(addresses, start=1)
        ),
        chef_port=ports.free([net.servers]) if chef else None,
    )
