"""RabbitMQ users of one test, and requesters that log in as them."""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from tests.acceptance.installed_lab import Lab
from tests.acceptance.pika_requester import Requester
from tests.chaos.servers import Lab as LabServers
from tests.rabbit_users import users_expression


@contextmanager
def users(lab: Lab, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """RabbitMQ users of this test alone, by their short names; all may publish and have queues of their own."""
    servers = LabServers(lab.folder, dict(lab))
    made = {name: f"{name}-{secrets.token_hex(4)}" for name in names}
    commands = (
        command for user in made.values() for command in (f"add_user {user} secret", f"set_permissions {user} .* .* .*")
    )
    try:
        asyncio.run(servers.control("eval", users_expression(*commands)))
        yield made
    finally:
        asyncio.run(servers.control("eval", users_expression(*(f"delete_user {user}" for user in made.values()))))


def connected(lab: Lab, user: str, *, says_so: bool = True) -> Requester:
    parts = urlsplit(lab["amqp_url"])
    url = urlunsplit(parts._replace(netloc=f"{user}:secret@{parts.hostname}:{parts.port}"))
    return Requester(url, user_id=user if says_so else None)
