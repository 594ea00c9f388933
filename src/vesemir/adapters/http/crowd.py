"""Which connections are let in, and which makes room for a new one.

A connection that waits (for its first request, the rest of one, or the next) has no right to its place: where there is
no room, the one that has waited longest is closed in favour of the new one. So a crowd of half-open requests pushes out
itself, and a health check, which sends its request at once, always gets in. Where every connection is in work, a few
*spares* are let in beyond the bound; they are answered on ``/health*`` only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from vesemir.adapters.http.limits import HttpLimits

SPARES = 16


class CrowdMember(Protocol):
    """A connection. ``peer`` is whose it is."""

    @property
    def peer(self) -> str: ...

    def make_room(self) -> None:
        """Close at once; ``Crowd.left`` was called already."""
        ...


@dataclass(slots=True)
class _Peer:
    """``waiting`` from the longest to the shortest."""

    count: int = 0
    waiting: dict[CrowdMember, None] = field(default_factory=dict)


class Crowd:
    """All connections of one server; each operation takes the same time however many there are."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._peers: dict[str, _Peer] = {}
        self._waiting: dict[CrowdMember, None] = {}
        self._members: set[CrowdMember] = set()
        self._spares: dict[CrowdMember, None] = {}

    def __len__(self) -> int:
        return len(self._members)

    def admit(self, member: CrowdMember) -> bool:
        """Let it in, as one that waits, if need be in place of another. False: there is no room."""
        if self._is_full_for(member):
            peer = self._peers.get(member.peer)
            crowded = peer is not None and peer.count >= self._limits.per_address
            _replace(self, peer.waiting if peer is not None and crowded else self._waiting)
        if self._is_full_for(member):
            if len(self._spares) >= SPARES:
                _replace(self, [spare for spare in self._spares if spare in self._waiting])
            if len(self._spares) >= SPARES:
                return False
            self._spares[member] = None
        self._members.add(member)
        self._peers.setdefault(member.peer, _Peer()).count += 1
        self.waits(member)
        return True

    def is_spare(self, member: CrowdMember) -> bool:
        """Let in beyond the bound: for a health check."""
        return member in self._spares

    def waits(self, member: CrowdMember) -> None:
        """From now on: it is the last of those that wait."""
        if member in self._members:
            self._forget_waiting(member)
            self._waiting[member] = None
            self._peers[member.peer].waiting[member] = None

    def works(self, member: CrowdMember) -> None:
        """Its request is complete enough to be worked on: it keeps its place."""
        self._forget_waiting(member)

    def left(self, member: CrowdMember) -> None:
        """It is closed. Nothing happens the second time."""
        if member not in self._members:
            return
        self._forget_waiting(member)
        self._members.discard(member)
        self._spares.pop(member, None)
        peer = self._peers[member.peer]
        peer.count -= 1
        if not peer.count:
            del self._peers[member.peer]

    def _is_full_for(self, member: CrowdMember) -> bool:
        peer = self._peers.get(member.peer)
        of_peer = 0 if peer is None else peer.count
        return len(self._members) >= self._limits.connections or of_peer >= self._limits.per_address

    def _forget_waiting(self, member: CrowdMember) -> None:
        self._waiting.pop(member, None)
        if member.peer in self._peers:
            self._peers[member.peer].waiting.pop(member, None)


def _replace(crowd: Crowd, candidates: Iterable[CrowdMember]) -> None:
    """The first of them, which has waited longest, makes room."""
    oldest = next(iter(candidates), None)
    if oldest is not None:
        crowd.left(oldest)
        oldest.make_room()
