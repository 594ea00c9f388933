"""Jump hosts as the operator writes them, in an inventory variable or in the settings: ``bastion1,ops@bastion2:2222``.

The first one is connected to first, as for ssh(1)'s ``ProxyJump``. Pure: what a name means is for others to find out.
"""

import re
from dataclasses import dataclass

from vesemir.domain.login import DEFAULT_PORT, refuse_address, refuse_port, refuse_user
from vesemir.domain.target import Target

JUMP_VARIABLE = "vesemir_jump"
DIRECT = "none"
"""Written for a host that is reached without, although its group or the settings name a jump host."""

_WORD = re.compile(
    r"(?:(?P<user>.+)@)?(?:\[(?P<six>[^\]]*)\](?::(?P<six_port>[0-9]{1,5}))?"
    r"|(?P<host>[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?|(?P<bare>[0-9A-Fa-f:.]+))"
)


@dataclass(frozen=True, slots=True)
class Jump:
    """One jump host: a host's name in the inventory, or a name or an address that can be connected to. ``port`` and
    ``user`` are None and empty where they are left to the inventory and the settings."""

    host: str
    port: int | None = None
    user: str = ""


def parse_jumps(text: str) -> tuple[Jump, ...]:
    """In the order in which they are passed. Raises ``ValueError`` with what is wrong."""
    if text.strip() in {"", DIRECT}:
        return ()
    jumps = tuple(_jump(word.strip()) for word in text.split(","))
    names = [jump.host for jump in jumps]
    if len(set(names)) < len(names):
        raise ValueError(f"{text!r} names a jump host twice")
    return jumps


def refuse_jumps(text: str) -> str | None:
    """Why these are no jump hosts; None when they are."""
    try:
        parse_jumps(text)
    except ValueError as error:
        return str(error)
    return None


def way_to(target: Target, text: str) -> tuple[Jump, ...]:
    """Those of these jump hosts that are before this target: one that is itself among them is reached by those that
    stand before it. Raises ``ValueError``."""
    jumps = parse_jumps(text)
    return jumps[: next((at for at, jump in enumerate(jumps) if _is(jump, target)), len(jumps))]


def _is(jump: Jump, target: Target) -> bool:
    """Another port of the same address may lead to another machine."""
    place = jump.host, jump.port or DEFAULT_PORT
    return jump.host == target.name or place == (target.address, target.port)


def _jump(word: str) -> Jump:
    found = _WORD.fullmatch(word)
    if found is None:
        raise ValueError(f"{word!r} is no jump host: write name, user@name:port or user@[IPv6 address]:port")
    host = found["six"] or found["bare"] or found["host"] or ""
    port, user = found["port"] or found["six_port"], found["user"] or ""
    refused = refuse_address(host) or (port and refuse_port(int(port))) or (user and refuse_user(user))
    if refused:
        raise ValueError(f"the jump host {word!r}: {refused}")
    return Jump(host, int(port) if port else None, user)
