"""The static inventory: one file, read again when it changes; a broken new version never replaces a good old one."""

import asyncio
import os
import re
import threading
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, assert_never, cast

from vesemir.adapters.inventory.ansible_dynamic import build_ansible_dynamic, is_dynamic
from vesemir.adapters.inventory.ansible_ini import build_ansible_ini
from vesemir.adapters.inventory.ansible_yaml import build_ansible_yaml, is_ansible
from vesemir.adapters.inventory.hostgraph import HostGraph
from vesemir.adapters.inventory.native import build_native
from vesemir.adapters.inventory.problem import Findings, InventoryFileError
from vesemir.adapters.inventory.yaml_lines import YamlError, read_yaml
from vesemir.adapters.toml_lines import key_lines, parse_toml, syntax_line
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.problem import Problem
from vesemir.domain.selector import HOST_NAME, ChefSelector, GroupSelector, HostSelector, Selector
from vesemir.domain.target import Target

_YAML_KEY = re.compile(r"""(["']?)[A-Za-z0-9_.-]+\1:(\s.*)?""")

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one version of the file says."""

    graph: HostGraph
    targets: dict[str, Target]


def read_inventory(file: Path) -> HostGraph:
    """TOML is Vesemir's own format, YAML and JSON that or Ansible's; any other name is Ansible's, as it looks inside.

    Raises ``InventoryFileError`` with every problem and its line.
    """
    findings = Findings(file)
    text = _text_of(file, findings)
    if file.suffix == ".toml":
        return _read_toml(text, findings)
    if file.suffix in {".yaml", ".yml", ".json"}:
        return _read_yaml(text, findings)
    if os.access(file, os.X_OK) and text.startswith("#!"):
        raise findings.fatal(
            1, "is a program; dynamic inventories are not supported, save what it prints and name that file"
        )
    return _read_yaml(text, findings) if _looks_like_yaml(text) else build_ansible_ini(text, findings)


def _looks_like_yaml(text: str) -> bool:
    """By its first line that is neither empty nor a comment: ``---``, ``{`` (JSON) or ``name:``; INI has none."""
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", ";"))), "")
    return first.startswith(("---", "{")) or _YAML_KEY.fullmatch(first) is not None


def _text_of(file: Path, findings: Findings) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise findings.fatal(
            None, f"cannot be read: {error.strerror}; check inventory.file, its owner and mode"
        ) from error
    except UnicodeDecodeError as error:
        raise findings.fatal(error.object[: error.start].count(b"\n") + 1, "is not UTF-8 text") from error


def _read_toml(text: str, findings: Findings) -> HostGraph:
    try:
        document = parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise findings.fatal(syntax_line(str(error)), f"is no TOML: {error}") from error
    return build_native(document, lambda: key_lines(text), findings)


def _read_yaml(text: str, findings: Findings) -> HostGraph:
    try:
        document, lines = read_yaml(text)
    except YamlError as error:
        raise findings.fatal(error.line, str(error)) from error
    if is_dynamic(document, is_json=text.lstrip().startswith("{")):
        return build_ansible_dynamic(cast("Mapping[str, object]", document), lines, findings)
    if is_ansible(document):
        return build_ansible_yaml(cast("Mapping[str, object]", document), lines, findings)
    return build_native(document, lambda: lines, findings)


class StaticInventory:
    """Groups and hosts of a file (the port ``vesemir.engine.ports.inventory.Inventory``)."""

    def __init__(self, file: Path, *, warn: Callable[[str], None]) -> None:
        self._file = file
        self._warn = warn
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._snapshot = _Snapshot(HostGraph(), {})
        self._is_read = True
        self.problem = ""
        """What is wrong with the file now; the last good version stays in use."""

    @classmethod
    def load(cls, file: Path, *, warn: Callable[[str], None]) -> Self:
        """Read the file for the first time. Raises ``InventoryFileError``; later problems go to ``warn`` instead."""
        inventory = cls(file, warn=warn)
        inventory._read(inventory._look())
        return inventory

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of all hosts, as listed."""
        return tuple(self._current().targets)

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(self._current().graph.groups)

    async def host(self, name: str) -> Target | None:
        """The host of that name; None when there is none."""
        return (await asyncio.to_thread(self._current)).targets.get(name)

    def refuse(self, selector: Selector) -> list[Problem]:
        return self._refuse(self._current(), selector)

    def _refuse(self, snapshot: _Snapshot, selector: Selector) -> list[Problem]:
        match selector:
            case GroupSelector(groups):
                return [
                    Problem(f"inventory.groups[{index}]", f"{self._file} has no group {name}")
                    for index, name in enumerate(groups)
                    if not snapshot.graph.has_group(name)
                ]
            case HostSelector(hosts):
                return [
                    Problem(f"hosts[{index}]", reason)
                    for index, name in enumerate(hosts)
                    if (reason := self._refuse_host(snapshot, name))
                ]
            case ChefSelector():
                return []
            case _:
                assert_never(selector)

    async def resolve(self, selector: Selector) -> list[Target]:
        # A file of thousands of hosts takes seconds to read, and beats and leases cannot wait for that.
        snapshot = await asyncio.to_thread(self._current)
        problems = self._refuse(snapshot, selector)
        if problems:
            reasons = "; ".join(problem.message for problem in problems)
            raise FailedError(FailureCode.TARGETS_UNKNOWN_HOST, reasons)
        names: dict[str, None] = {}
        match selector:
            case GroupSelector(groups):
                for group in groups:
                    names.update(dict.fromkeys(snapshot.graph.members(group)))
            case HostSelector(hosts):
                names.update(dict.fromkeys(hosts))
            case ChefSelector():
                raise FailedError(
                    FailureCode.TARGETS_INVENTORY_UNREACHABLE,
                    f"{self._file} is a static inventory; Chef tags are not in it",
                )
            case _:
                assert_never(selector)
        if not names:
            raise FailedError(FailureCode.TARGETS_NONE_FOUND, f"{selector} matches no host in {self._file}")
        return [snapshot.targets[name] for name in names]

    def _refuse_host(self, snapshot: _Snapshot, name: str) -> str | None:
        if HOST_NAME.fullmatch(name) is None:
            return f"{name!r} is no host name: 1-253 of A-Za-z0-9._-, starting with a letter or digit"
        return None if name in snapshot.targets else f"{self._file} has no host {name}"

    def refresh(self) -> None:
        """Read the file if it has changed; not on the event loop."""
        self._current()

    def _current(self) -> _Snapshot:
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp or not self._is_read:
                self._read_again(stamp)
            return self._snapshot

    def _read_again(self, stamp: Stamp | None) -> None:
        """What the system did not let us read is tried again at each look: new rights change no time of a file."""
        try:
            self._read(stamp)
        except InventoryFileError as error:
            self._is_read = not isinstance(error.__cause__, OSError)
            if (problem := str(error)) != self.problem:
                self._warn(f"the inventory stays as it was before, because its new version is broken: {error}")
            self.problem = problem
        else:
            self._is_read, self.problem = True, ""

    def _look(self) -> Stamp | None:
        """What changes when the file does; None when it cannot be looked at."""
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self, stamp: Stamp | None) -> None:
        # Noted before it is read: a broken version is told once, and a change during the reading is seen the next time.
        self._stamp = stamp
        graph = read_inventory(self._file)
        for folder in ("group_vars", "host_vars"):
            if self._file.suffix != ".toml" and (self._file.parent / folder).is_dir():
                self._warn(
                    f"{self._file.parent / folder} is not read: put the variables that recipes need in {self._file}"
                )
        self._snapshot = _Snapshot(graph, graph.targets())
