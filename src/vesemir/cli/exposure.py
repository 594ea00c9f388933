"""What ``vesemir check`` warns of: an installation that works, and that somebody could listen to or misuse."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from vesemir.adapters.chef import clusters_of
from vesemir.settings import Settings

_ENCRYPTED = {"require", "verify-ca", "verify-full"}


def exposures(settings: Settings) -> Iterator[str]:
    """One sentence each: what is open, and which setting closes it."""
    yield from _plaintext(settings)
    if settings.policy.file is None:
        yield "policy.file is not set: every requester may deploy every application to every host"


def _plaintext(settings: Settings) -> Iterator[str]:
    broker = urlsplit(settings.amqp.url.get_secret_value())
    if broker.scheme == "amqp" and not _stays_here(broker.hostname):
        yield f"amqp.url: the connection to {broker.hostname} is not encrypted; use amqps://"
    host, mode = _database(settings.postgres.dsn.get_secret_value())
    if not _stays_here(host) and mode not in _ENCRYPTED:
        yield f"postgres.dsn: the connection to {host} may be unencrypted; add sslmode=verify-full"
    for name, cluster in clusters_of(settings.inventory).items():
        url = urlsplit(str(cluster.url))
        if url.scheme == "http" and not _stays_here(url.hostname):
            yield f"inventory.chef ({name}): the connection to {url.hostname} is not encrypted; use https://"
    if not _stays_here(settings.http.host):
        yield f"http.host: {settings.http.host} answers without TLS; put a load balancer with TLS in front"


def _database(dsn: str) -> tuple[str | None, str | None]:
    """Host and sslmode, of a URL or of a list of ``name=value``."""
    if "://" in dsn:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        host = query["host"][-1] if "host" in query else unquote(parts.hostname or "")
        return host, query["sslmode"][-1] if "sslmode" in query else None
    words = dict(word.split("=", 1) for word in dsn.split() if "=" in word)
    return words.get("host"), words.get("sslmode")


def _stays_here(host: str | None) -> bool:
    """Loopback, or a UNIX socket."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
