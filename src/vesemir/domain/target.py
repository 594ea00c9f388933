"""A target: one host in a deployment, as an inventory resolved it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

OWN_VARIABLES = frozenset({"haproxy_socket", "vesemir_state_dir", "vesemir_supervisor"})
"""What Vesemir itself reads of a host, whatever the recipe."""


@dataclass(frozen=True, slots=True)
class Target:
    """One host (VM, box).

    ``variables`` are the inventory's own (text to text); recipes read those that they declare. ``source`` says where
    the address came from, for people (``inventory web1: address``).
    """

    name: str
    address: str
    port: int = 22
    user: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    def knowing(self, names: frozenset[str]) -> "Target":
        """With these of its variables only."""
        return replace(self, variables={name: value for name, value in self.variables.items() if name in names})
