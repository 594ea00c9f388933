"""Ansible inventories in INI form: hosts with their variables, ``[group]``, ``[group:children]``, ``[group:vars]``."""

import ast
import re
import shlex
import warnings

from vesemir.adapters.inventory.ansible import add_hosts, layer_of, set_variable, settle
from vesemir.adapters.inventory.hostgraph import ALL, UNGROUPED, HostGraph
from vesemir.adapters.inventory.problem import Findings

_HEADER = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?")
_RANGE_FIRST = re.compile(r"\[[^\]]*:[^\]]*\][^\s#;]")
"""A host's name that begins with a range, ``[1:3].example.org``: no header has anything right behind its bracket."""
_CHILD = re.compile(r"([^:\]\s#]+)\s*(?:#.*)?")
_KINDS = frozenset({"hosts", "children", "vars"})


def build_ansible_ini(text: str, findings: Findings) -> HostGraph:
    """Raises ``InventoryFileError``."""
    reader = _IniReader()
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith(("#", ";")):
            try:
                reader.line(number, stripped)
            except ValueError as error:
                findings.add(number, str(error))
    graph = reader.graph
    for group, number in reader.varied.items():
        if group != ALL and group not in reader.first_lines:
            findings.add(number, f"[{group}:vars] is for a group that is not there")
    graph.check(lambda path, reason: findings.add(reader.first_lines.get(path[1]), reason))
    findings.raise_any()
    settle(graph)
    return graph


class _IniReader:
    def __init__(self) -> None:
        self.graph = HostGraph()
        self.first_lines: dict[str, int] = {}
        self.varied: dict[str, int] = {}
        self._group = UNGROUPED
        self._kind = "hosts"

    def line(self, number: int, text: str) -> None:
        if text.startswith("[") and not (self._kind == "hosts" and _RANGE_FIRST.match(text)):
            self._header(number, text)
        elif self._kind == "hosts":
            self._host(text)
        elif self._kind == "children":
            self._child(text)
        else:
            self._variable(text)

    def _header(self, number: int, text: str) -> None:
        found = _HEADER.fullmatch(text)
        if found is None:
            raise ValueError(f"{text} must be [group], [group:children] or [group:vars]")
        self._group, self._kind = found[1], found[2] or "hosts"
        if self._kind not in _KINDS:
            raise ValueError(f"[{self._group}:{self._kind}]: only :children and :vars are known")
        if self._kind == "vars":
            self.varied.setdefault(self._group, number)
        elif self._group != ALL:
            self.first_lines.setdefault(self._group, number)
            self.graph.add_group(self._group)

    def _host(self, text: str) -> None:
        pattern, *pairs = shlex.split(text, comments=True)
        layers = add_hosts(self.graph, self._group, pattern)
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals or not name:
                raise ValueError(f"{pair!r} must be name=value (only one host or range stands on a line)")
            for layer in layers:
                set_variable(layer, name, _value(value))

    def _child(self, text: str) -> None:
        found = _CHILD.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} must be the name of a group")
        if self._group != ALL:
            self.graph.add_group(self._group).children.append(found[1])

    def _variable(self, text: str) -> None:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{text!r} must be name=value")
        set_variable(layer_of(self.graph, self._group), name.strip(), _value(value.strip()))


def _value(text: str) -> object:
    """A Python literal if it is one, as Ansible reads it, else the text itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
