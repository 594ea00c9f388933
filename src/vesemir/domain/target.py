"""A target: one host in a deployment, as an inventory resolved it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

OWN_VARIABLES = frozenset(
    {"haproxy_socket", "vesemir_identity", "vesemir_jump", "vesemir_state_dir", "vesemir_supervisor"}
)
"""What Vesemir itself reads of a host, whatever the recipe."""


@dataclass(frozen=True, slots=True)
class Target:
    """One host (VM, box).

    ``variables`` are the inventory's own (text to text); recipes read those that they declare. ``source`` says where
    the address came from, for people (``inventory web1: address``). ``claimed`` are the variables that the host says of
    itself, as a Chef node does; it is judged when the targets are resolved, and not recorded.
    """

    name: str
    address: str
    port: int = 22
    user: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    claimed: frozenset[str] = frozenset()

    def knowing(self, names: frozenset[str]) -> "Target":
        """As it is recorded: with these of its variables only."""
        known = {name: value for name, value in self.variables.items() if name in names}
        return replace(self, variables=known, claimed=frozenset())
