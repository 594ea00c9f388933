"""Chef servers as an inventory: each selector becomes a search on one of them, and each node found a target."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from vesemir.adapters.chef import trouble
from vesemir.adapters.chef.node_reader import AttributeProblemError, NodeReader, source_of
from vesemir.adapters.chef.paging import Found, Page, read_all
from vesemir.adapters.chef.query import is_meant, search_query
from vesemir.adapters.chef.server import ChefServer, Clock, utc_now
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.node_rules import plain
from vesemir.domain.problem import Problem, some_of
from vesemir.domain.selector import ChefSelector, Selector
from vesemir.domain.target import Target
from vesemir.engine.ports.observe import Log
from vesemir.settings import ChefClusterSettings, InventorySettings

_LONGEST_NAME = 80
"""Of a node, in messages."""

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Cluster:
    name: str
    settings: ChefClusterSettings
    server: ChefServer


def clusters_of(settings: InventorySettings) -> dict[str, ChefClusterSettings]:
    """Every Chef server of the settings by name, the default one first."""
    default = {} if settings.chef is None else {settings.chef.name: settings.chef}
    return {**default, **settings.chef_clusters}


class ChefInventory:
    """The port ``vesemir.engine.ports.inventory.Inventory``, for Chef selectors only. Made by ``opened``."""

    def __init__(
        self, clusters: Mapping[str, _Cluster], *, default: str | None, warn: Warn, clock: Clock = utc_now
    ) -> None:
        self._clusters = clusters
        self._default = default
        self._warn = warn
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, settings: InventorySettings, *, warn: Warn, clock: Clock = utc_now, log: Log | None = None
    ) -> AsyncIterator[Self | None]:
        """None if the settings have no Chef server. What deserves attention but stops nothing goes to ``warn``.

        Raises ``ChefSettingsError``. No server is asked yet.
        """
        known = clusters_of(settings)
        if not known:
            yield None
            return
        async with AsyncExitStack() as stack:
            clusters = {}
            for name, of in known.items():
                server = await stack.enter_async_context(ChefServer.opened(of, cluster=name, clock=clock, log=log))
                clusters[name] = _Cluster(name, of, server)
            default = next(iter(known)) if settings.chef is not None or len(known) == 1 else None
            yield cls(clusters, default=default, warn=warn, clock=clock)

    @property
    def problem(self) -> str:
        """What is wrong with the files of the Chef servers now; what was read before stays in use."""
        found = (cluster.server.credentials.problem for cluster in self._clusters.values())
        return "; ".join(each for each in found if each)

    def refresh(self) -> None:
        """Read keys and authorities that have changed; not on the event loop."""
        for cluster in self._clusters.values():
            cluster.server.credentials.refresh()

    def refuse(self, selector: Selector) -> list[Problem]:
        if not isinstance(selector, ChefSelector):
            return []
        cluster = self._cluster(selector)
        if cluster is None:
            known = ", ".join(self._clusters)
            text = f"must be one of: {known}" if selector.cluster else f"is missing; it must be one of: {known}"
            return [Problem("chef.cluster", text, FailureCode.REQUEST_INVALID)]
        if selector.query and not cluster.settings.allow_raw_query:
            text = "is not allowed here (allow_raw_query in the settings): use tags, roles, recipes and environment"
            return [Problem("chef.query", text, FailureCode.REQUEST_FORBIDDEN)]
        return []

    async def resolve(self, selector: Selector) -> list[Target]:
        if not isinstance(selector, ChefSelector):
            raise FailedError(FailureCode.TARGETS_UNKNOWN_HOST, "a Chef server is only asked for Chef selectors")
        for problem in self.refuse(selector):
            code = problem.code or FailureCode.REQUEST_INVALID
            raise FailedError(code, f"{problem.field} {problem.message}")
        cluster = self._cluster(selector)
        assert cluster is not None  # noqa: S101 -- refuse has said so
        reader = NodeReader(cluster.settings, cluster=cluster.name)
        found = await self._search(cluster, selector, reader)
        meant = {name: row for name, row in found.rows.items() if is_meant(selector, reader.belonging(row))}
        if not meant:
            raise _none_found(cluster, selector, others=len(found.rows))
        if not found.settled:
            self._warn(f"{cluster.server.text}: its nodes changed all the time while they were read; some may be gone")
        # Thousands of nodes take a while, and beats and leases cannot wait for that.
        targets, stale = await asyncio.to_thread(self._targets, cluster, reader, meant)
        if stale:
            self._warn(stale)
        return targets

    def refuse_place(self, target: Target, addresses: Sequence[str]) -> str | None:
        """Why the operator's rules do not allow to connect there, for a node whose address is a name: what it resolves
        to is known only when it is dialled. None for hosts of other inventories."""
        for cluster in self._clusters.values():
            if target.source.startswith(source_of(cluster.name)):
                reader = NodeReader(cluster.settings, cluster=cluster.name)
                return next((reason for each in addresses if (reason := reader.refuse_address(each))), None)
        return None

    async def _search(self, cluster: _Cluster, selector: ChefSelector, reader: NodeReader) -> Found:
        server, settings = cluster.server, cluster.settings
        query, wanted = search_query(selector), reader.wanted

        async def page_from(start: int) -> Page:
            return await server.search(query, wanted, start=start)

        try:
            async with asyncio.timeout(settings.deadline_seconds):
                return await read_all(page_from, rows=settings.rows)
        except FailedError as error:
            if error.failure.code is FailureCode.REQUEST_INVALID and not selector.query:
                # The query is ours: the request is not to blame.
                raise FailedError(FailureCode.TARGETS_INVENTORY_UNREACHABLE, str(error)) from error
            raise
        except TimeoutError as error:
            text = f"has not finished the search within {settings.deadline_seconds:g} s; look at its load"
            raise trouble.unreachable(server.text, text) from error

    def _targets(
        self, cluster: _Cluster, reader: NodeReader, rows: Mapping[str, Mapping[str, object]]
    ) -> tuple[list[Target], str]:
        """With the warning for those that have not converged for long. Raises ``FailedError`` if one cannot be used."""
        now = self._clock().timestamp()
        targets: list[Target] = []
        stale: list[str] = []
        problems: list[str] = []
        for name in sorted(rows, key=natural):
            try:
                idle = reader.idle_seconds(rows[name], now=now)
                targets.append(reader.target(rows[name], idle_seconds=idle))
            except AttributeProblemError as error:
                problems.append(f"{_shortened(name)}: {error}")
            else:
                if reader.is_stale(idle):
                    stale.append(name)
        problems += _shared_places(targets)
        if problems:
            text = f"{len(problems)} of {len(rows)} nodes of {cluster.server.text} cannot be used: {some_of(problems)}"
            advice = (
                "Correct the nodes' attributes, delete nodes that are gone, or name other attributes in the settings"
            )
            raise FailedError(FailureCode.TARGETS_INVALID_ATTRIBUTES, f"{text}. {advice}")
        if not stale:
            return targets, ""
        return targets, (
            f"{len(stale)} of {len(rows)} nodes of {cluster.server.text} have not converged for more than "
            f"{cluster.settings.stale_after_seconds:g} s: {some_of(stale)}"
        )

    def _cluster(self, selector: ChefSelector) -> _Cluster | None:
        name = selector.cluster or self._default
        return None if name is None else self._clusters.get(name)


def _shared_places(targets: Sequence[Target]) -> Iterator[str]:
    """Nodes that say the same address and port: one of them lies, and which one cannot be known here."""
    names: dict[tuple[str, int], list[str]] = {}
    for target in targets:
        names.setdefault((_comparable(target.address), target.port), []).append(target.name)
    for (address, port), sharing in names.items():
        if len(sharing) > 1:
            yield from (
                f"{name!r}: {address} port {port} is also that of {sharing[0] if name != sharing[0] else sharing[1]}"
                for name in sharing
            )


def _comparable(address: str) -> str:
    try:
        return str(plain(ip_address(address)))
    except ValueError:
        return address.lower().rstrip(".")


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts ``web2`` before ``web10``; the name itself makes the order total. Numbers are compared by their length and
    then as text: a name may be one of thousands of digits."""
    parts = re.split(r"([0-9]+)", name)
    numbers = [part.lstrip("0") if index % 2 else None for index, part in enumerate(parts)]
    return [
        (-1, part) if number is None else (len(number), number) for part, number in zip(parts, numbers, strict=True)
    ], name


def _shortened(name: str) -> str:
    shown = repr(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}…"


def _none_found(cluster: _Cluster, selector: ChefSelector, *, others: int) -> FailedError:
    text = f"no node of {cluster.server.text} matches {_wording(selector)}"
    if others:
        text += f" to the letter ({others} that its index finds do not have it now)"
    return FailedError(
        FailureCode.TARGETS_NONE_FOUND,
        f"{text}: check the spelling; a node is found some time after it has converged. To see what the server finds: "
        f"knife search node '{search_query(selector)}'",
    )


def _wording(selector: ChefSelector) -> str:
    if selector.query:
        return f"the query {selector.query!r}"
    parts = {"tags": selector.tags, "roles": selector.roles, "recipes": selector.recipes}
    wording = [f"{name} {', '.join(map(repr, values))}" for name, values in parts.items() if values]
    if selector.environment:
        wording.append(f"environment {selector.environment!r}")
    return " and ".join(wording)
