"""Connections of the settings that leave the machine without TLS: a warning, or refused with ``require_tls``."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from vesemir.adapters.chef import clusters_of
from vesemir.adapters.url_parts import url_parts
from vesemir.domain.failure import VesemirError
from vesemir.settings import Settings

_ENCRYPTED = {"require", "verify-ca", "verify-full"}


def refuse_plaintext(settings: Settings) -> None:
    """Raises ``VesemirError``, a line for each connection, where ``require_tls`` is set."""
    if settings.require_tls and (found := list(plaintext(settings))):
        raise VesemirError("\n".join(f"{each} (require_tls is set)" for each in found))


def plaintext(settings: Settings) -> Iterator[str]:
    """One sentence each: what is not encrypted, and which setting closes it."""
    for broker in map(urlsplit, settings.amqp.addresses):
        if broker.scheme == "amqp" and not _stays_here(broker.hostname):
            yield f"amqp.url: the connection to {broker.hostname} is not encrypted; use amqps://"
    hosts, mode = _database(settings.postgres.dsn.get_secret_value())
    if (outside := [host for host in hosts if not _stays_here(host)]) and mode not in _ENCRYPTED:
        yield f"postgres.dsn: the connection to {', '.join(outside)} may be unencrypted; add sslmode=verify-full"
    for name, cluster in clusters_of(settings.inventory).items():
        url = urlsplit(str(cluster.url))
        if url.scheme == "http" and not _stays_here(url.hostname):
            yield f"inventory.chef ({name}): the connection to {url.hostname} is not encrypted; use https://"
    if settings.http.tls_certificate is None and not _stays_here(settings.http.host):
        yield (
            f"http.host: {settings.http.host} answers without TLS; set http.tls_certificate, or listen on loopback "
            "behind a load balancer with TLS"
        )


def _database(dsn: str) -> tuple[list[str], str | None]:
    """All hosts and sslmode, of a URL or of a list of ``name=value``."""
    if "://" in dsn:
        parts = url_parts(dsn)
        query = parse_qs(parts.query)
        listed = query["host"][-1] if "host" in query else unquote(parts.netloc.rpartition("@")[2])
        return _hosts(listed), query["sslmode"][-1] if "sslmode" in query else None
    words = dict(word.split("=", 1) for word in dsn.split() if "=" in word)
    return _hosts(words.get("host", "")), words.get("sslmode")


def _hosts(listed: str) -> list[str]:
    """Each of ``primary:5432,standby:5432`` without its port."""
    return [_host(each) for each in listed.split(",")]


def _host(place: str) -> str:
    if place.startswith("["):
        return place[1:].partition("]")[0]
    return place.partition(":")[0] if place.count(":") == 1 else place  # more colons: an IPv6 address without a port


def _stays_here(host: str | None) -> bool:
    """Loopback, or a UNIX socket."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
