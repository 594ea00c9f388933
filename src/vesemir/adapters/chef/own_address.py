"""Whether an address is this instance's own: asked of the kernel, which says from where it would talk to it."""

import socket
from ipaddress import IPv4Address, IPv6Address

_ANY_PORT = 9


def is_own_address(address: IPv4Address | IPv6Address) -> bool:
    """A machine talks to its own address from that very address. Nothing is sent: connect(2) of a datagram socket only
    looks up the route."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as plug:
            plug.connect((str(address), _ANY_PORT))
            return str(plug.getsockname()[0]) == str(address)
    except OSError:  # no route, or no such family here: then it is not ours
        return False
