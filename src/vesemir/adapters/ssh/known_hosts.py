"""Pinned host keys: by the target's name where a line has it, else by the address.

The file's format is OpenSSH's (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), and a name in it means what ``HostKeyAlias``
means to ssh(1). A line with a target's name decides alone: an address may come from the host itself (a Chef node), and
if it named another machine, a line for that address would let the other machine pass for the target.
"""

from collections.abc import Callable, Sequence
from typing import Any

from asyncssh import SSHKnownHosts, import_known_hosts

from vesemir.domain.target import Target

_SPECIAL = frozenset("*?!")
_REVOKED = frozenset({2, 4, 6})
"""Places in asyncssh's answer: keys, certificates and subjects that are revoked, for a name or for an address."""


class PinnedKeys:
    """A ``known_hosts`` file that was read. Raises ``ValueError`` for a line that it cannot read."""

    def __init__(self, text: str) -> None:
        self._all = import_known_hosts(text)
        self._named = import_known_hosts("\n".join(filter(_names_hosts, text.splitlines())))

    def has_name(self, target: Target) -> bool:
        """Whether a line has the target's name: plain or hashed, but not as a pattern, which means many hosts."""
        return any(self._named.match(target.name, "", _port(target))[:2])

    def kinds(self, target: Target) -> list[str]:
        """What is pinned for it, as people call it (``ssh-ed25519``, ``host CA``); empty: no line has this host."""
        port = _port(target)
        by_name = self._all.match(target.name, "", port) if self.has_name(target) else None
        keys, authorities = (by_name or self._all.match(target.address, target.address, port))[:2]
        found = [key.get_algorithm() for key in keys] + ["host CA"] * bool(authorities)
        return list(dict.fromkeys(found))

    def lookup(self, target: Target) -> "SSHKnownHosts | Callable[[str, str, int | None], Sequence[Any]]":
        """For asyncssh's option ``known_hosts``."""
        if not self.has_name(target):
            return self._all
        by_name = self._all.match(target.name, "", _port(target))

        def lookup(host: str, address: str, port: int | None) -> Sequence[Any]:
            del host
            by_address = self._all.match(address, address, port)
            return tuple(
                [*named, *there] if kind in _REVOKED else named
                for kind, (named, there) in enumerate(zip(by_name, by_address, strict=True))
            )

        return lookup


def _port(target: Target) -> int | None:
    return None if target.port == 22 else target.port  # noqa: PLR2004 -- ssh's own, which no line names


def _names_hosts(line: str) -> bool:
    words = line.split(maxsplit=2)
    if not words or words[0] == "@revoked":
        return False
    names = words[1] if words[0].startswith("@") and len(words) > 1 else words[0]
    return not _SPECIAL & set(names)
