"""Pinned host keys: by the target's name where a line has it, else by the address.

The file's format is OpenSSH's (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), and a name in it means what ``HostKeyAlias``
means to ssh(1). A line with a target's name decides alone: an address may come from the host itself (a Chef node), and
if it named another machine, a line for that address would let the other machine pass for the target. An authority's
line with a pattern (``@cert-authority *.example.com``) is looked up by both: a certificate must have the target's name,
or the address that was connected to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from asyncssh import SSHCertificate, SSHKey, import_known_hosts

from vesemir.domain.target import Target

_SPECIAL = frozenset("*?!")
_AUTHORITIES = 1
_REVOKED = frozenset({2, 4, 6})
"""Places in asyncssh's answer: keys, certificates and subjects that are revoked, for a name or for an address."""


@dataclass(frozen=True, slots=True)
class CertifiedName:
    """A target's name, the authorities whose line matches it, and those whose line matches its address."""

    name: str = ""
    authorities: frozenset[SSHKey] = frozenset()
    by_address: frozenset[SSHKey] = frozenset()

    def alias_in(self, certificate: SSHCertificate) -> str | None:
        """The name, where the certificate must have it; None where it must have the address."""
        authority = getattr(certificate, "signing_key", None)
        if authority not in self.authorities:
            return None
        named = self.name in getattr(certificate, "principals", ())
        return self.name if named or authority not in self.by_address else None


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
        keys, authorities = (by_name or self._all.match(target.address, _ip(target.address), port))[:2]
        certified = [*authorities, *self.certified(target).authorities]
        found = [key.get_algorithm() for key in keys] + ["host CA"] * bool(certified)
        return list(dict.fromkeys(found))

    def lookup(self, target: Target) -> "Callable[[str, str, int | None], Sequence[Any]]":
        """For asyncssh's option ``known_hosts``."""
        if not self.has_name(target):
            return self._by_address(target)
        by_name = self._all.match(target.name, "", _port(target))

        def lookup(host: str, address: str, port: int | None) -> Sequence[Any]:
            del host
            address = address or target.address  # a jump host does not say it
            by_address = self._all.match(address, _ip(address), port)
            return tuple(
                [*named, *there] if kind in _REVOKED else named
                for kind, (named, there) in enumerate(zip(by_name, by_address, strict=True))
            )

        return lookup

    def certified(self, target: Target) -> "CertifiedName":
        """Whose certificates for the target's *name* are enough, wherever it was connected to. An address says less: a
        certificate names the machine that has its key."""
        if self.has_name(target):
            return CertifiedName()
        by_address = self._all.match(target.address, _ip(target.address), _port(target))[1]
        return CertifiedName(
            target.name, frozenset(self._all.match(target.name, "", _port(target))[1]), frozenset(by_address)
        )

    def _by_address(self, target: Target) -> "Callable[[str, str, int | None], Sequence[Any]]":
        named, revoked = self.certified(target).authorities, self._all.match(target.name, "", _port(target))

        def lookup(host: str, address: str, port: int | None) -> Sequence[Any]:
            found = self._all.match(host, _ip(address), port)
            return tuple(
                [*there, *(named if kind == _AUTHORITIES else ()), *(revoked[kind] if kind in _REVOKED else ())]
                for kind, there in enumerate(found)
            )

        return lookup


def _ip(address: str) -> str:
    """Empty for a name: asyncssh takes nothing else for an address."""
    try:
        ip_address(address)
    except ValueError:
        return ""
    return address


def _port(target: Target) -> int | None:
    return None if target.port == 22 else target.port  # noqa: PLR2004 -- ssh's own, which no line names


def _names_hosts(line: str) -> bool:
    words = line.split(maxsplit=2)
    if not words or words[0] == "@revoked":
        return False
    names = words[1] if words[0].startswith("@") and len(words) > 1 else words[0]
    return not _SPECIAL & set(names)
