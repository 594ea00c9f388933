"""Vesemir's own inventory format, the same in TOML and YAML: ``[all]``, ``[groups.NAME]``, ``[hosts.NAME]``."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from vesemir.adapters.inventory.hostgraph import ALL, HostGraph, Layer
from vesemir.adapters.inventory.problem import Findings
from vesemir.adapters.inventory.ranges import expand
from vesemir.adapters.toml_lines import KeyPath, line_of, path_text, reason_of
from vesemir.domain.login import refuse_address, refuse_port, refuse_user
from vesemir.domain.selector import HOST_NAME

T = TypeVar("T")


def _text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("must be text; put quotes around it")  # noqa: TRY004 - pydantic reports ValueError only
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must be text: it holds half of a surrogate pair")
    return value


def _accepted(refuse: Callable[[T], str | None]) -> Callable[[T], T]:
    def check(value: T) -> T:
        if reason := refuse(value):
            raise ValueError(reason)
        return value

    return check


class _InventoryTomlTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LayerTable(_InventoryTomlTable):
    port: Annotated[int, AfterValidator(_accepted(refuse_port))] | None = None
    user: Annotated[str, AfterValidator(_accepted(refuse_user))] | None = None
    variables: dict[str, Annotated[str, BeforeValidator(_text)]] = {}

    def layer(self) -> Layer:
        return Layer(variables=dict(self.variables), port=self.port, user=self.user)


class GroupTable(LayerTable):
    hosts: list[str] = []
    children: list[str] = []


class HostTable(LayerTable):
    address: Annotated[str, AfterValidator(_accepted(refuse_address))] | None = None

    def layer(self) -> Layer:
        return Layer(variables=dict(self.variables), address=self.address, port=self.port, user=self.user)


class InventoryTable(_InventoryTomlTable):
    everything: LayerTable = Field(default=LayerTable(), alias="all")
    groups: dict[str, GroupTable] = {}
    hosts: dict[str, HostTable] = {}


def build_native(document: object, lines: Callable[[], dict[KeyPath, int]], findings: Findings) -> HostGraph:
    """``lines`` is asked only if something is wrong. Raises ``InventoryFileError``."""
    problems: list[tuple[KeyPath, str]] = []
    graph = HostGraph()
    try:
        table = InventoryTable.model_validate(document)
    except ValidationError as error:
        problems = [(detail["loc"], reason_of(detail)) for detail in error.errors(include_url=False)]
    else:
        _fill(graph, table, problems)
        if not problems:
            graph.check(lambda path, reason: problems.append((path, reason)))
    if problems:
        known = lines()
        for path, reason in problems:
            findings.add(line_of(known, path), f"{path_text(path)}: {reason}")
    findings.raise_any()
    return graph


def _fill(graph: HostGraph, table: InventoryTable, problems: list[tuple[KeyPath, str]]) -> None:
    graph.everything = table.everything.layer()
    for name, group_table in table.groups.items():
        if name == ALL:
            problems.append(
                (("groups", name), "the group of all hosts is there by itself; use [all] for its variables")
            )
        group = graph.add_group(name)
        group.layer = group_table.layer()
        group.children = list(group_table.children)
        for index, pattern in enumerate(group_table.hosts):
            try:
                names = expand(pattern)
            except ValueError as error:
                problems.append((("groups", name, "hosts", index), str(error)))
                continue
            for host in names:
                graph.add_host(host)
            group.hosts.extend(names)
    for name, host_table in table.hosts.items():
        if HOST_NAME.fullmatch(name) is None:
            problems.append((("hosts", name), f"{name!r} is no host name: 1-253 of A-Za-z0-9._-"))
        graph.hosts[name] = host_table.layer()
