"""Which names this instance answers to, and whose pages may ask it (contract section 4).

A page of another site can make the browser of somebody inside send requests here. What it reads stays hidden from it,
as long as the browser knows that this is another site: not if the page's own name suddenly resolves to this address
(DNS rebinding). Then ``Host`` is that name. So ``Host`` is looked at, and where a browser says that a page of another
site asks (``Origin``, RFC 6454; ``Sec-Fetch-Site``, W3C Fetch Metadata), the request is refused.
"""

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from vesemir.adapters.http.answers import error_answer
from vesemir.adapters.http.guarded import is_health

METRICS = "/metrics"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.%]+\]|[^\[\]:/?#@\s]+)(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE)
_PORTS = {"http": "80", "https": "443"}

MISDIRECTED = "this instance does not answer to the host name of this request; if it should, add the name to http.hosts"
NO_HOST = "a request has one Host header, with the name or the address of this instance"
FOREIGN = "a page of another site asked for this; open this instance at its own address, or add its name to http.hosts"


@dataclass(frozen=True, slots=True)
class AcceptedHosts:
    """``names`` in lower case; ``addresses``: any IP address as well."""

    names: frozenset[str]
    addresses: bool

    @classmethod
    def of(cls, names: Sequence[str] | None) -> Self:
        """The setting ``http.hosts``; None: any IP address, ``localhost`` and this host's own name."""
        if names is not None:
            return cls(frozenset(_plain(name) for name in names), addresses=False)
        own = _plain(socket.gethostname())
        return cls(frozenset({"localhost", own, own.partition(".")[0]}), addresses=True)

    def accept(self, authority: str) -> bool:
        """Whether a ``Host`` is one of them; its port does not matter."""
        found = _AUTHORITY.fullmatch(authority)
        if found is None:
            return False
        name = _plain(found["name"])
        return name in self.names or (self.addresses and _is_address(name))

    def accept_origin(self, origin: str, authority: str) -> bool:
        """Whether a page of ``origin`` is one of this instance's own, which was asked as ``authority``."""
        scheme, _, rest = origin.partition("://")
        page, asked = _AUTHORITY.fullmatch(rest), _AUTHORITY.fullmatch(authority)
        if scheme not in _PORTS or page is None or asked is None:
            return False
        if not self.addresses and _plain(page["name"]) in self.names:
            return True
        ports = [found["port"] or _PORTS[scheme] for found in (page, asked)]
        return _plain(page["name"]) == _plain(asked["name"]) and ports[0] == ports[1]


def own_site_only(hosts: AcceptedHosts) -> Middleware:
    """A middleware; ``/health*`` and ``/metrics`` are answered whatever a request calls them."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_health(request.path) or request.path == METRICS:
            return await handler(request)
        named = request.headers.getall("Host", [])
        if len(named) != 1 or not named[0]:
            return error_answer(HTTPStatus.BAD_REQUEST, NO_HOST)
        # A request line may have a whole URL (RFC 9112, section 3.2.2), whose name then counts: aiohttp's `host`.
        if not hosts.accept(named[0]) or not hosts.accept(request.host):
            return error_answer(HTTPStatus.MISDIRECTED_REQUEST, MISDIRECTED)
        if _is_foreign(request, hosts, named[0]):
            return error_answer(HTTPStatus.FORBIDDEN, FOREIGN)
        return await handler(request)

    return check


def _is_foreign(request: web.Request, hosts: AcceptedHosts, authority: str) -> bool:
    """Following a link to here is not: the page that has the link sees nothing of the answer."""
    site, safe = request.headers.get("Sec-Fetch-Site", ""), request.method in SAFE
    follows_link = safe and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if site == "cross-site" and not follows_link:
        return True
    if site == "same-site" and not safe:
        return True
    origin = request.headers.get("Origin")
    return origin is not None and not hosts.accept_origin(origin, authority)


def _plain(name: str) -> str:
    return name.strip("[]").rstrip(".").lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
