"""What a program prints for Ansible (``--list`` of a dynamic inventory, or of ``ansible-inventory``), saved as a file.

Source: "Developing dynamic inventory" of Ansible's documentation: groups by name, whose hosts and children are lists
(a group may be the list of its hosts itself), and ``_meta.hostvars`` with each host's variables.
"""

from collections.abc import Mapping

from vesemir.adapters.inventory.ansible import add_hosts, layer_of, set_variable, settle
from vesemir.adapters.inventory.hostgraph import ALL, HostGraph, Layer
from vesemir.adapters.inventory.problem import Findings
from vesemir.adapters.toml_lines import KeyPath, line_of, path_text

META = "_meta"


def is_dynamic(document: object, *, is_json: bool) -> bool:
    """A program says ``_meta``, or lists hosts and children in JSON: in YAML files, which people write, lists are an
    error (with Ansible too). Vesemir's own ``groups`` has groups below it."""
    if not isinstance(document, dict):
        return False
    if META in document or not is_json:
        return META in document
    groups = [group for name, group in document.items() if name not in {"groups", "hosts"}]
    return any(
        isinstance(group, list)
        or (isinstance(group, dict) and any(isinstance(group.get(key), list) for key in ("hosts", "children")))
        for group in groups
    )


def build_ansible_dynamic(document: Mapping[str, object], lines: dict[KeyPath, int], findings: Findings) -> HostGraph:
    """Raises ``InventoryFileError``."""
    reader = _DynamicReader(lines, findings)
    for name, group in document.items():
        if name != META:
            reader.group(name, {"hosts": group} if isinstance(group, list) else reader.mapping(group, (name,)))
    reader.graph.check(lambda path, reason: findings.add(line_of(lines, (path[1],)), reason))
    meta = reader.mapping(document.get(META), (META,))
    reader.host_variables(reader.mapping(meta.get("hostvars"), (META, "hostvars")))
    findings.raise_any()
    settle(reader.graph)
    return reader.graph


class _DynamicReader:
    def __init__(self, lines: dict[KeyPath, int], findings: Findings) -> None:
        self.graph = HostGraph()
        self._lines = lines
        self._findings = findings

    def group(self, name: str, content: Mapping[str, object]) -> None:
        if name != ALL:
            self.graph.add_group(name)
        for key, value in content.items():
            place: KeyPath = (name, key)
            if key == "hosts":
                for host in self._names(value, place):
                    self._host(name, host, place)
            elif key == "children":
                for child in self._names(value, place):
                    self.graph.add_group(child)
                    if name != ALL:
                        self.graph.groups[name].children.append(child)
            elif key == "vars":
                self._variables(layer_of(self.graph, name), self.mapping(value, place), place)
            else:
                self._problem(place, "unknown key: a group has hosts, children and vars")

    def _host(self, group: str, name: str, place: KeyPath) -> None:
        try:
            add_hosts(self.graph, group, name)
        except ValueError as error:
            self._problem(place, str(error))

    def host_variables(self, given: Mapping[str, object]) -> None:
        """Those of hosts that are in no group mean nothing, as with Ansible."""
        for host, variables in given.items():
            if host in self.graph.hosts:
                place: KeyPath = (META, "hostvars", host)
                self._variables(self.graph.hosts[host], self.mapping(variables, place), place)

    def _variables(self, layer: Layer, variables: Mapping[str, object], place: KeyPath) -> None:
        for name, value in variables.items():
            try:
                set_variable(layer, name, value)
            except ValueError as error:
                self._problem((*place, name), str(error))

    def _names(self, value: object, place: KeyPath) -> list[str]:
        if isinstance(value, dict):
            return list(value)
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return value
        self._problem(place, "must be a list of names")
        return []

    def mapping(self, content: object, place: KeyPath) -> Mapping[str, object]:
        if content is None:
            return {}
        if isinstance(content, dict):
            return content
        self._problem(place, "must be a mapping")
        return {}

    def _problem(self, place: KeyPath, reason: str) -> None:
        self._findings.add(line_of(self._lines, place), f"{path_text(place)}: {reason}")
