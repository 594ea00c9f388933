"""Ansible's words in an inventory, whichever syntax they came in: what Vesemir takes over, and what it must refuse.

Source: "How to build your inventory" and "Special variables" of Ansible's documentation. Connection variables become
address, port and user; all variables stay variables, as text (lists and mappings as JSON).
"""

import json

from vesemir.adapters.inventory.hostgraph import ALL, UNGROUPED, HostGraph, Layer
from vesemir.adapters.inventory.ranges import expand
from vesemir.domain.login import refuse_address, refuse_port, refuse_user

_ADDRESS = frozenset({"ansible_host", "ansible_ssh_host"})
_PORT = frozenset({"ansible_port", "ansible_ssh_port"})
_USER = frozenset({"ansible_user", "ansible_ssh_user"})


def layer_of(graph: HostGraph, group: str) -> Layer:
    """Where a group's variables go; the group ``all`` is everything."""
    return graph.everything if group == ALL else graph.add_group(group).layer


def add_hosts(graph: HostGraph, group: str, pattern: str) -> list[Layer]:
    """The hosts of a name or range, maybe with ``:port``, added to a group. Raises ``ValueError``."""
    name, colon, port = pattern.rpartition(":")
    has_port = bool(colon) and port.isascii() and port.isdecimal() and name.count("[") == name.count("]")
    names = expand(name if has_port else pattern)
    if has_port and (reason := refuse_port(int(port))):
        raise ValueError(reason)
    layers = [graph.add_host(host) for host in names]
    if has_port:
        for layer in layers:
            layer.port = int(port)
    if group != ALL:
        graph.add_group(group).hosts.extend(names)
    return layers


def set_variable(layer: Layer, name: str, value: object) -> None:
    """Raises ``ValueError`` for what cannot be taken over faithfully."""
    text = as_text(value)
    if "\0" in text:
        raise ValueError(f"{name} must not hold a NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{name} must be text: it holds half of a surrogate pair")
    if name == "ansible_group_priority":
        raise ValueError("ansible_group_priority is not supported: inner groups win over outer ones, then by name")
    reason = None
    if name in _ADDRESS | _PORT | _USER and "{{" in text:
        raise ValueError(f"{name} is a template; templates are not supported, write the value itself")
    if not text and name in _ADDRESS | _PORT | _USER:
        _say_nothing(layer, name)
    elif name in _ADDRESS:
        reason, layer.address = refuse_address(text), text
    elif name in _USER:
        reason, layer.user = refuse_user(text), text
    elif name in _PORT:
        number = int(text) if text.isascii() and text.isdecimal() else 0
        reason, layer.port = refuse_port(number), number
    if reason:
        raise ValueError(f"{name}: {reason}")
    layer.variables[name] = text


def _say_nothing(layer: Layer, name: str) -> None:
    """An empty connection variable: as if no layer before had said anything either."""
    if name in _ADDRESS:
        layer.address = ""
    elif name in _USER:
        layer.user = ""
    else:
        layer.port = 0


def as_text(value: object) -> str:
    """Text as it is, nothing as empty text, all else as JSON writes it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def settle(graph: HostGraph) -> None:
    """The group ``ungrouped`` has the hosts that are in no other."""
    grouped = {host for name, group in graph.groups.items() if name != UNGROUPED for host in group.hosts}
    rest = [host for host in graph.hosts if host not in grouped]
    if rest or UNGROUPED in graph.groups:
        graph.add_group(UNGROUPED).hosts = rest
