"""Which hosts are meant: the three forms of ``targets`` in a deploy event (contract section 2)."""

import re
from dataclasses import dataclass

HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
"""Host names: 1-253 of ``A-Za-z0-9._-``, starting with a letter or digit (contract section 2); match it in full."""


@dataclass(frozen=True, slots=True)
class ChefSelector:
    """Nodes that have all of ``tags``, ``roles`` and ``recipes`` in ``environment``, or a raw ``query``.

    ``cluster`` names one of several Chef servers in the settings; empty is the only or default one.
    """

    tags: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    environment: str = ""
    query: str = ""
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class GroupSelector:
    """Groups of the static inventory: the hosts of each, in the order asked for, each host once."""

    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostSelector:
    """Hosts by name, in the order asked for, each once."""

    hosts: tuple[str, ...]


Selector = ChefSelector | GroupSelector | HostSelector
