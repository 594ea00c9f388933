"""Who asks, and under which id; and how it is shown who asked."""

import getpass
import os
import secrets
import socket
from datetime import UTC, datetime


def new_deployment_id() -> str:
    """Sorts by time, to the millisecond, and is unique without asking anybody: ``20261123T140212.345-5f0c9a1b``."""
    moment = datetime.now(UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}-{secrets.token_hex(4)}"


def who_asks() -> str:
    """``user@host``. A claim: what RabbitMQ verifies is recorded beside it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def asker_text(claimed: str | None, identity: object) -> str:
    """What a message said of itself, and beside it what was proved: ``orchestrator (amqp:shop-ci)``. Empty: neither."""
    if claimed and identity:
        return f"{claimed} ({identity})"
    return claimed or (str(identity) if identity else "")
