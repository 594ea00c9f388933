"""Ansible inventories in YAML form: groups with ``hosts``, ``children`` and ``vars``, nested as deep as people like."""

from collections.abc import Mapping

from vesemir.adapters.inventory.ansible import add_hosts, layer_of, set_variable, settle
from vesemir.adapters.inventory.hostgraph import ALL, HostGraph, Layer
from vesemir.adapters.inventory.problem import Findings
from vesemir.adapters.toml_lines import KeyPath, line_of, path_text

_NATIVE = frozenset({"all", "groups", "hosts"})
_KEYS = frozenset({"hosts", "children", "vars"})


def is_ansible(document: object) -> bool:
    """Vesemir's own format has ``groups`` or ``hosts`` at the top; Ansible's has groups by name."""
    if not isinstance(document, dict):
        return False
    if set(document) == {ALL}:
        everything = document[ALL]
        return not isinstance(everything, dict) or bool(set(everything) & _KEYS)
    return not set(document) <= _NATIVE


def build_ansible_yaml(document: Mapping[str, object], lines: dict[KeyPath, int], findings: Findings) -> HostGraph:
    """Raises ``InventoryFileError``."""
    if "plugin" in document:
        raise findings.fatal(lines.get(("plugin",)), f"inventory plugins ({document['plugin']}) are not supported")
    reader = _AnsibleYamlReader(lines, findings)
    for name, group in document.items():
        reader.group(name, group, (name,))
    reader.graph.check(lambda path, reason: findings.add(reader.first_lines.get(path[1]), reason))
    findings.raise_any()
    settle(reader.graph)
    return reader.graph


class _AnsibleYamlReader:
    def __init__(self, lines: dict[KeyPath, int], findings: Findings) -> None:
        self.graph = HostGraph()
        self.first_lines: dict[str, int | None] = {}
        self._lines = lines
        self._findings = findings

    def group(self, name: str, content: object, path: KeyPath) -> None:
        if name != ALL:
            self.graph.add_group(name)
            self.first_lines.setdefault(name, self._lines.get(path))
        for key, value in self._mapping(content, path).items():
            place = (*path, key)
            if key == "hosts":
                self._hosts(name, value, place)
            elif key == "children":
                self._children(name, value, place)
            elif key == "vars":
                self._variables([layer_of(self.graph, name)], value, place)
            else:
                self._problem(place, "unknown key: a group has hosts, children and vars")

    def _hosts(self, group: str, content: object, path: KeyPath) -> None:
        hosts = {content: None} if isinstance(content, str) else self._mapping(content, path)
        for pattern, variables in hosts.items():
            try:
                layers = add_hosts(self.graph, group, pattern)
            except ValueError as error:
                self._problem((*path, pattern), str(error))
            else:
                self._variables(layers, variables, (*path, pattern))

    def _children(self, group: str, content: object, path: KeyPath) -> None:
        children = {content: None} if isinstance(content, str) else self._mapping(content, path)
        for child, inner in children.items():
            self.group(child, inner, (*path, child))
            if group != ALL and child not in self.graph.groups[group].children:
                self.graph.groups[group].children.append(child)

    def _variables(self, layers: list[Layer], content: object, path: KeyPath) -> None:
        for name, value in self._mapping(content, path).items():
            for layer in layers:
                try:
                    set_variable(layer, name, value)
                except ValueError as error:
                    self._problem((*path, name), str(error))
                    break

    def _mapping(self, content: object, path: KeyPath) -> Mapping[str, object]:
        if content is None:
            return {}
        if isinstance(content, dict):
            return content
        self._problem(path, "must be a mapping (names with a colon), not a list or a value")
        return {}

    def _problem(self, path: KeyPath, reason: str) -> None:
        self._findings.add(line_of(self._lines, path), f"{path_text(path)}: {reason}")
