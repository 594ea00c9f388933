"""Hosts, the groups they are in, and what is said of both: the one form that every inventory file becomes.

A later layer wins: all, then groups (outer before inner, by name among equals, as Ansible does), then the host.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vesemir.domain.jump import JUMP_VARIABLE, refuse_jumps
from vesemir.domain.login import DEFAULT_PORT
from vesemir.domain.target import Target

ALL = "all"
UNGROUPED = "ungrouped"

Report = Callable[[tuple[str, str], str], None]
"""Told (``("groups", name)``, reason); the one that read the file knows the line."""


@dataclass(slots=True)
class Layer:
    """What one place in the file says. Empty, or port 0: that nothing is to hold that an earlier layer said."""

    variables: dict[str, str] = field(default_factory=dict)
    address: str | None = None
    port: int | None = None
    user: str | None = None


@dataclass(slots=True)
class HostGroup:
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    layer: Layer = field(default_factory=Layer)


@dataclass(slots=True)
class HostGraph:
    """``default_port`` and ``default_user`` (the settings') apply where no layer says anything."""

    everything: Layer = field(default_factory=Layer)
    groups: dict[str, HostGroup] = field(default_factory=dict)
    hosts: dict[str, Layer] = field(default_factory=dict)

    def add_host(self, name: str) -> Layer:
        """The host's own layer; hosts keep the order in which they were first named."""
        return self.hosts.setdefault(name, Layer())

    def add_group(self, name: str) -> HostGroup:
        return self.groups.setdefault(name, HostGroup())

    def check(self, report: Report) -> None:
        """Report children that are no groups, and groups that contain themselves."""
        for name, group in self.groups.items():
            for child in group.children:
                if child not in self.groups:
                    report(("groups", name), f"group {name} has the child {child}, which is no group")
        for path, layer in self._layers():
            if reason := refuse_jumps(layer.variables.get(JUMP_VARIABLE, "")):
                report(path, f"{JUMP_VARIABLE}: {reason}")
        for cycle in self._cycles():
            report(("groups", cycle[0]), f"groups contain each other: {' > '.join(cycle)}")

    def _layers(self) -> Iterator[tuple[tuple[str, str], Layer]]:
        yield ("groups", ALL), self.everything
        yield from ((("groups", name), group.layer) for name, group in self.groups.items())
        yield from ((("hosts", name), layer) for name, layer in self.hosts.items())

    def _cycles(self) -> Iterator[list[str]]:
        done: set[str] = set()
        for start in self.groups:
            path: list[str] = []
            todo = [(start, False)]
            while todo:
                name, left = todo.pop()
                if left:
                    path.pop()
                    done.add(name)
                elif name in path:
                    yield [*path[path.index(name) :], name]
                    return
                elif name not in done and name in self.groups:
                    path.append(name)
                    todo.append((name, True))
                    todo.extend((child, False) for child in reversed(self.groups[name].children))

    def has_group(self, name: str) -> bool:
        return name in self.groups or name == ALL

    def members(self, name: str) -> list[str]:
        """The hosts of a group and of all groups in it, each once, as listed."""
        if name == ALL:
            return list(self.hosts)
        found: dict[str, None] = {}
        seen: set[str] = set()
        todo = [name]
        while todo:
            current = todo.pop()
            if current not in seen:
                seen.add(current)
                found.update(dict.fromkeys(self.groups[current].hosts))
                todo.extend(reversed(self.groups[current].children))
        return list(found)

    def targets(self) -> dict[str, Target]:
        """Every host with all that is said of it."""
        depths = self._depths()
        groups_of: dict[str, list[str]] = {name: [] for name in self.hosts}
        for group in sorted(self.groups, key=lambda name: (depths[name], name)):
            for host in self.members(group):
                groups_of[host].append(group)
        return {name: self._target(name, groups) for name, groups in groups_of.items()}

    def _target(self, name: str, groups: list[str]) -> Target:
        layers = [self.everything, *(self.groups[group].layer for group in groups), self.hosts[name]]
        target = Layer()
        for layer in layers:
            target.variables |= layer.variables
            target.address = target.address if layer.address is None else layer.address
            target.port = target.port if layer.port is None else layer.port
            target.user = target.user if layer.user is None else layer.user
        return Target(
            name=name,
            address=target.address or name,
            port=target.port or DEFAULT_PORT,
            user=target.user or "",
            variables=target.variables,
            source=f"inventory {name}: {'address' if target.address else 'its name'}",
        )

    def _depths(self) -> dict[str, int]:
        """The longest way from the top to each group (the graph has no cycles)."""
        depths = dict.fromkeys(self.groups, 0)
        parents: dict[str, int] = dict.fromkeys(self.groups, 0)
        for group in self.groups.values():
            for child in group.children:
                parents[child] += 1
        ready = [name for name, count in parents.items() if count == 0]
        while ready:
            name = ready.pop()
            for child in self.groups[name].children:
                depths[child] = max(depths[child], depths[name] + 1)
                parents[child] -= 1
                if parents[child] == 0:
                    ready.append(child)
        return depths
