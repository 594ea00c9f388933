"""How many connections HTTP may have, and how long each may take for its parts."""

import ipaddress
import resource
from dataclasses import dataclass
from typing import Self

from vesemir.engine.ports.observe import Log
from vesemir.settings import HttpSettings

FEWEST_CONNECTIONS = 32
"""What HTTP has even if the process has too few descriptors: without ``/health`` nothing else is seen."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """``connections`` in all, ``per_address`` from one address; the rest in seconds.

    ``header``: from the connection, or from the first byte of a further request, to the end of its header. ``body``:
    from there to the end of the body. ``send``: without the client taking anything of an answer. ``keep_alive``:
    between two requests.
    """

    connections: int = 1000
    per_address: int = 500
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    send_seconds: float = 30.0
    keep_alive_seconds: float = 75.0

    @classmethod
    def of(cls, settings: HttpSettings, *, kept: int, log: Log) -> Self:
        """As set; fewer connections where ``kept`` descriptors for everything else do not leave enough, and then the
        log says so."""
        wanted = settings.max_connections
        connections = connections_within(wanted, kept=kept)
        if connections < wanted:
            log.warning(
                "HTTP may have {connections} connections, not {wanted}: this process may have too few descriptors; "
                "raise LimitNOFILE (ulimit -n) to {needed}, or lower http.max_connections",
                connections=connections,
                wanted=wanted,
                needed=wanted + kept,
            )
        return cls(
            connections=connections,
            per_address=min(settings.max_connections_per_address, connections),
            header_seconds=settings.header_seconds,
            body_seconds=settings.body_seconds,
            send_seconds=settings.send_seconds,
            keep_alive_seconds=settings.keep_alive_seconds,
        )


def connections_within(wanted: int, *, kept: int) -> int:
    """How many of ``wanted`` connections HTTP may have, so that the ``kept`` last descriptors of this process are left
    for SSH, the broker, the database and files.

    Raises the soft limit of descriptors as far as needed and allowed: systemd's default of 1,024 is for programs that
    call select(2), which this one does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + kept
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(FEWEST_CONNECTIONS, soft - kept))


def peer_of(peername: object) -> str:
    """Whose connections count together: an IPv4 address, or the 64 bits of an IPv6 network that one host has for itself
    (RFC 4291, section 2.5.4). "" for what has no such address."""
    if not isinstance(peername, tuple) or not peername:
        return ""
    try:
        address = ipaddress.ip_address(str(peername[0]).partition("%")[0])
    except ValueError:
        return ""
    if address.version == 6:  # noqa: PLR2004 - IPv6
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)
