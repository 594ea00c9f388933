"""A target: one host in a deployment, as an inventory resolved it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
