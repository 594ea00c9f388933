"""What a login needs, wherever it was read: an address, a port, a user. Each check says why not, or None."""

import re
from ipaddress import IPv6Address

from vesemir.domain.selector import HOST_NAME

DEFAULT_PORT = 22

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,255}")
_MAX_PORT = 65535


def refuse_address(text: str) -> str | None:
    """Why this is no address: a host name, an IPv4 or an IPv6 address."""
    if HOST_NAME.fullmatch(text):
        return None
    try:
        IPv6Address(text)
    except ValueError:
        return f"{text!r} is neither a host name nor an IP address"
    return None


def refuse_user(text: str) -> str | None:
    return None if _USER.fullmatch(text) else f"{text!r} is no user name"


def refuse_port(port: int) -> str | None:
    return None if 0 < port <= _MAX_PORT else f"{port} is no port: 1-{_MAX_PORT}"
