"""Whose turn it is: what a claim goes round by, and what counts for a quota. Pure.

The record keeps both with a deployment, so that a claim finds by index whose turn it is.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vesemir.domain.identity import Asker

NO_QUOTAS: Mapping[str, int] = MappingProxyType({})

_LONGEST = 120
"""Characters of an identity in an index; of a longer one the rest is a digest."""


@dataclass(frozen=True, slots=True)
class TurnKey:
    """``requester``: who waits, empty for all that have no identity. ``quotas``: what the deployment counts for, each
    the name of a ``[[limit]]``, a space, and what that counts (an identity, an application)."""

    requester: str = ""
    quotas: tuple[str, ...] = ()

    @property
    def queue(self) -> str:
        """The same for the same quotas; empty without any."""
        if not self.quotas:
            return ""
        return hashlib.sha256("\n".join(sorted(self.quotas)).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def blocked(self, running: Mapping[str, int], most: Mapping[str, int]) -> bool:
        """Whether a quota is filled. ``running``: how many run, by quota; ``most``: how many may, by limit."""
        return any(
            running.get(quota, 0) >= most[limit] for quota in self.quotas if (limit := quota.partition(" ")[0]) in most
        )


NO_TURN = TurnKey()
"""Of whom nothing is known, and nothing counted."""


def requester_of(asker: Asker) -> str:
    """``asker`` as the policy's persons recognise him: all identities of a person have one turn."""
    if asker.identity is None:
        return ""
    name = str(asker.identity) if asker.person is None else f"person:{asker.person.name}"
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[:_LONGEST]}#{digest[:32]}"
