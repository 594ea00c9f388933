"""How often RabbitMQ gives a message back before it drops it, asked of its management API: for ``vesemir check``.

What counts is the lower of the queue's argument and of the policies that apply to it, and without either the default:
none before 4.0, 20 from then on. From 4.0 on a limit below 0 is none, and one of two that is below 0 gives way
(rabbit_quorum_queue.erl; docs: quorum queues, poison message handling).
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from vesemir.adapters.amqp.topology import QueueTopology
from vesemir.domain.failure import VesemirError
from vesemir.settings import AmqpSettings

ANSWER_SECONDS = 10.0
LONGEST_ANSWER = 4 * 1024 * 1024
DEFAULT_SINCE_4 = 20
LOW = 1000
"""Below this a bad day of the network or the record can use a limit up."""


@dataclass(frozen=True, slots=True)
class DeliveryLimit:
    """``limit`` None: none. ``source`` says what sets it."""

    queue: str
    limit: int | None
    source: str

    @property
    def is_low(self) -> bool:
        return self.limit is not None and self.limit < LOW

    def __str__(self) -> str:
        shown = "no delivery limit" if self.limit is None else f"delivery limit {self.limit}"
        return f"{self.queue} has {shown} ({self.source})"


def delivery_limits(settings: AmqpSettings) -> Iterator[DeliveryLimit]:
    """Those of the queues that are consumed, as far as they are there. Raises ``VesemirError``."""
    api = _Api(settings)
    version = str(api.get("overview").get("rabbitmq_version", ""))
    vhost = quote(_vhost(settings), safe="")
    topology = QueueTopology(settings.namespace)
    for queue in (topology.deployments, topology.control):
        try:
            found = api.get(f"queues/{vhost}/{quote(queue, safe='')}")
        except FileNotFoundError:
            continue
        yield effective_limit(queue, found, version=version)


def effective_limit(queue: str, found: Mapping[str, Any], *, version: str) -> DeliveryLimit:
    """``found`` is the queue as the API shows it; ``effective_policy_definition`` has operator policies in it."""
    policy = _number((found.get("effective_policy_definition") or {}).get("delivery-limit"))
    argument = _number((found.get("arguments") or {}).get("x-delivery-limit"))
    names = [str(found[key]) for key in ("policy", "operator_policy") if found.get(key)]
    by_policy = f"policy {', '.join(names)}"
    given = [limit for limit in (policy, argument) if limit is not None]
    since_4 = _major(version) >= 4  # noqa: PLR2004 - the release that made the default
    if not given:
        shown = f"RabbitMQ {version or 'of an unknown version'}'s default"
        return DeliveryLimit(queue, DEFAULT_SINCE_4 if since_4 else None, shown)
    limit = max(given) if min(given) < 0 else min(given)
    source = by_policy if limit == policy else "the queue's argument"
    return DeliveryLimit(queue, None if limit < 0 else limit, source)


def _number(given: object) -> int | None:
    return given if isinstance(given, int) else None


def _major(version: str) -> int:
    first = version.partition(".")[0]
    return int(first) if first.isdecimal() else 0


def _vhost(settings: AmqpSettings) -> str:
    """As aio-pika reads it: the path without its first slash, and "/" where there is none."""
    return unquote(urlsplit(settings.addresses[0]).path.removeprefix("/")) or "/"


class _Api:
    """GET only, without a proxy: it is asked for what the broker on the next host knows."""

    def __init__(self, settings: AmqpSettings) -> None:
        given = "" if settings.management_url is None else settings.management_url.get_secret_value()
        parts, login = urlsplit(given), urlsplit(settings.addresses[0])
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise VesemirError(
                "amqp.management_url is not a URL; write http://HOST:15672 or https://USER:PASSWORD@HOST"
            )
        who = parts if parts.username else login
        name, password = unquote(who.username or ""), unquote(who.password or "")
        self._url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/api/"
        self._login = base64.b64encode(f"{name}:{password}".encode()).decode()
        self._opener = build_opener(ProxyHandler({}), HTTPHandler(), HTTPSHandler())

    def get(self, path: str) -> Mapping[str, Any]:
        """Raises ``FileNotFoundError`` for what is not there, else ``VesemirError``."""
        request = Request(f"{self._url}{path}", headers={"Authorization": f"Basic {self._login}"})  # noqa: S310
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
                found = json.loads(answer.read(LONGEST_ANSWER))
        except HTTPError as error:
            if error.code == 404:  # noqa: PLR2004 - HTTP's "not found"
                raise FileNotFoundError(path) from error
            raise VesemirError(
                f"RabbitMQ's management API answered {error.code} to {path}; check the user of amqp.management_url: it "
                "needs the tag monitoring"
            ) from error
        except (URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise VesemirError(
                f"RabbitMQ's management API does not answer ({reason}); check amqp.management_url, and that the plugin "
                "rabbitmq_management is enabled"
            ) from error
        if not isinstance(found, dict):
            raise VesemirError(
                f"RabbitMQ's management API answered {path} with something else; check amqp.management_url"
            )
        return found
