"""Addresses and ports that nobody else uses.

All of 127.0.0.0/8 is the machine itself, so each lab takes a slice of its own, derived from its folder: the servers
at ``127.X.Y.1``, load balancers from ``127.X.Y.2`` on, boxes from ``127.X.(Y+1).1`` on. Ports come from below the range
from which the kernel takes those of outgoing connections, and all are tried by binding before they are given out.
"""

import errno
import hashlib
import random
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from vesemir.lab.places import LabError

MOST_BOXES = 1750
MOST_BALANCERS = 9
MOST_MACHINES = 50
"""Each boots a systemd, which takes about a second of processor time and 30 MB."""
_PER_NET = 250
_NETS = 8
_FIRST_PORT, _LAST_PORT = 12000, 32000
_TRIES = 200


@dataclass(frozen=True, slots=True)
class Slice:
    """The lab's part of 127.0.0.0/8."""

    second: int
    third: int

    @classmethod
    def of(cls, folder: Path) -> "Slice":
        """The same folder has the same addresses each time; two folders rarely share them, and ports differ then."""
        digest = hashlib.sha256(str(folder).encode()).digest()
        return cls(second=1 + digest[0] % 254, third=digest[1] // _NETS * _NETS)

    @property
    def servers(self) -> str:
        return f"127.{self.second}.{self.third}.1"

    def balancer(self, number: int) -> str:
        """The address of the load balancer box with that number, counted from 1."""
        return f"127.{self.second}.{self.third}.{1 + number}"

    @property
    def bastion(self) -> str:
        """The jump host's, behind those of the load balancers."""
        return self.balancer(MOST_BALANCERS + 1)

    def box(self, number: int) -> str:
        """The address of the box with that number, counted from 1."""
        net, host = divmod(number - 1, _PER_NET)
        return f"127.{self.second}.{self.third + 1 + net}.{host + 1}"


class LabPorts:
    """Gives out free ports, each only once."""

    def __init__(self, *, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- spreads labs over the ports, protects nothing
        self._given: set[int] = set()

    def free(self, addresses: Sequence[str]) -> int:
        """One port that is free on all of ``addresses``. Raises ``LabError`` when none is found."""
        for _ in range(_TRIES):
            port = self._random.randrange(_FIRST_PORT, _LAST_PORT)
            if port not in self._given and _can_bind(addresses, port):
                self._given.add(port)
                return port
        raise LabError(f"no free port between {_FIRST_PORT} and {_LAST_PORT} on {addresses[0]}; end what holds them")


def _can_bind(addresses: Sequence[str], port: int) -> bool:
    with ExitStack() as open_sockets:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                trial = open_sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind((address, port))
            except OSError as error:
                if family == socket.AF_INET6 and error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                    continue
                return False
    return True
