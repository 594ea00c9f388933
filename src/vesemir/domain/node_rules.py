"""What a host may say of itself, where an inventory is data from outside: a Chef node writes its own attributes.

The rules are the operator's (``inventory.chef`` in the settings). They are there so that a host that was taken over
harms nobody but itself: its address must not be another machine's, and what Vesemir and recipes do with the rights of
root must not be chosen by it. Pure: which addresses are this instance's own is an argument.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from vesemir.domain.names import Names

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

GUARDED = Names(("vesemir_*", "haproxy_socket", "sudo", "systemctl", "systemctl_sudo"))
"""Variables that no node may set unless the operator says so: which programs run, and as whom."""

OPERATORS = frozenset({"vesemir_identity", "vesemir_jump"})
"""Variables that no rule lets a node set: through which host it is reached, and with which key."""

_KINDS = (
    ("is_loopback", "a loopback address"),
    ("is_link_local", "a link-local address"),
    ("is_unspecified", "no address of a host"),
    ("is_multicast", "a multicast address"),
    ("is_reserved", "a reserved address"),
)


@dataclass(frozen=True, slots=True)
class PortRange:
    """From ``first`` to ``last``, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class NodeRules:
    """What is None is not limited, but for special addresses and ``GUARDED`` variables.

    ``fixed`` are the operator's own variables for every host: they win over what a node says.
    """

    networks: tuple[IpNetwork, ...] | None = None
    users: Names | None = None
    ports: tuple[PortRange, ...] | None = None
    variables: Names | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)

    def refuse_address(self, text: str, *, is_own: Callable[[IpAddress], bool]) -> str | None:
        """Why a node may not have this address; None when it may. A name is looked at once it is resolved."""
        if "%" in text:
            return f"{text!r} has a zone, which means something on one host only"
        try:
            address = plain(ip_address(text))
        except ValueError:
            return None
        return self._refuse_ip(address, is_own)

    def _refuse_ip(self, address: IpAddress, is_own: Callable[[IpAddress], bool]) -> str | None:
        networks = [each for each in self.networks or () if address in each]
        if self.networks is not None and not networks:
            return f"{address} is in none of allowed_networks ({', '.join(map(str, self.networks))})"
        kinds = [(kind, text) for kind, text in _KINDS if getattr(address, kind)]
        if kinds and not any(all(getattr(network, kind) for kind, _ in kinds) for network in networks):
            return f"{address} is {kinds[0][1]}; allowed_networks must name such a network itself"
        if not kinds and is_own(address) and not any(network.num_addresses == 1 for network in networks):
            return f"{address} is this instance's own; allowed_networks must name that very address"
        return None

    def refuse_user(self, user: str) -> str | None:
        allowed = self.users is None or self.users.has(user)
        return None if allowed else f"{user!r} is not among allowed_users ({self.users})"

    def refuse_port(self, port: int) -> str | None:
        allowed = self.ports is None or any(each.first <= port <= each.last for each in self.ports)
        return None if allowed else f"{port} is not among allowed_ports ({', '.join(map(str, self.ports or ()))})"

    def refuse_variable(self, name: str) -> str | None:
        if name in OPERATORS:
            return f"a node may not set the variable {name}, whatever allowed_variables say; fixed_variables sets it"
        if self.variables is not None:
            allowed, why = self.variables.has(name), f"allowed_variables are {self.variables}"
        else:
            allowed, why = not GUARDED.has(name), "allowed_variables in the settings could allow it"
        return None if allowed else f"a node may not set the variable {name}: {why}; fixed_variables sets it for all"


def plain(address: IpAddress) -> IpAddress:
    """An IPv4 address that is written as IPv6 (``::ffff:127.0.0.1``) is that IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
