"""Who may deploy what where: one ``[[allow]]`` of the policy, and what of a request does not fit it. Pure.

Only the identity is known for sure (RabbitMQ compares ``user_id`` with the user that logged in). ``team`` and
``requested_by`` are what the requester says of himself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from vesemir.domain.identity import Asker, IdentityNames
from vesemir.domain.names import Names
from vesemir.domain.problem import Problem
from vesemir.domain.request import OWN_SERVER, DeployRequest, TrafficRequest
from vesemir.domain.selector import ChefSelector, GroupSelector, HostSelector, Selector


class HasLane(Protocol):
    """A request, or a deployment."""

    @property
    def application(self) -> str: ...

    @property
    def environment(self) -> str: ...


@dataclass(frozen=True, slots=True)
class PermissionScope:
    """Which applications in which environments something is about; None is all of them."""

    applications: Names | None = None
    environments: Names | None = None

    def covers(self, asked: HasLane) -> bool:
        return all(
            names is None or names.has(given)
            for names, given in (
                (self.applications, asked.application),
                (self.environments, asked.environment),
            )
        )


EVERYWHERE = PermissionScope()


@dataclass(frozen=True, slots=True)
class OnceHost:
    """A host that a run-once step names: by its name, or as the first of a group of the inventory."""

    name: str
    group: str | None = None

    def __str__(self) -> str:
        return self.name if self.group is None else f"{self.name} (the first of {self.group})"


@dataclass(frozen=True, slots=True)
class ChefPermission:
    """Which Chef nodes may be selected. What a search names narrows it, so one allowed name of it is enough.

    ``environments`` and ``clusters``, where given, must be named by the request. ``query``: raw searches too.
    """

    tags: Names | None = None
    roles: Names | None = None
    recipes: Names | None = None
    environments: Names | None = None
    clusters: Names | None = None
    query: bool = False

    def problems(self, selector: ChefSelector) -> Iterator[tuple[str, str]]:
        """(the path within the selector, what is required there)."""
        if selector.query:
            if not self.query:
                yield "chef.query", "must be left out: select by tags, roles or recipes"
        else:
            yield from self._filter_problem(selector)
        for name, allowed, given in (
            ("environment", self.environments, selector.environment),
            ("cluster", self.clusters, selector.cluster),
        ):
            if allowed is not None and not allowed.has(given or None):
                yield f"chef.{name}", f"must be one of: {allowed}"

    def _filter_problem(self, selector: ChefSelector) -> Iterator[tuple[str, str]]:
        filters = (
            ("tags", self.tags, selector.tags),
            ("roles", self.roles, selector.roles),
            ("recipes", self.recipes, selector.recipes),
        )
        known = [(name, allowed) for name, allowed, _ in filters if allowed is not None]
        if known and not any(allowed.has(each) for _, allowed, given in filters if allowed for each in given):
            yield "chef", "must name at least one of: " + "; ".join(f"{name} {allowed}" for name, allowed in known)


@dataclass(frozen=True, slots=True)
class TargetPermission:
    """Which selectors may be used: a form that is None may not be used at all. Every host or group must be allowed."""

    hosts: Names | None = None
    groups: Names | None = None
    chef: ChefPermission | None = None

    def problems(self, selector: Selector) -> Iterator[tuple[str, str]]:
        match selector:
            case HostSelector(hosts) if self.hosts is not None:
                yield from _each("hosts", self.hosts, hosts)
            case GroupSelector(groups) if self.groups is not None:
                yield from _each("inventory.groups", self.groups, groups)
            case ChefSelector() if self.chef is not None:
                yield from self.chef.problems(selector)
            case _:
                yield "", f"must be selected by {' or '.join(self._forms())}"

    def has(self, host: OnceHost) -> bool:
        """Whether a request could name it among its targets."""
        if self.hosts is not None and self.hosts.has(host.name):
            return True
        return self.groups is not None and self.groups.has(host.group)

    def _forms(self) -> Iterator[str]:
        if self.hosts is not None:
            yield "hosts"
        if self.groups is not None:
            yield "inventory"
        if self.chef is not None:
            yield "chef"


def _each(path: str, allowed: Names, given: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for index, name in enumerate(given):
        if not allowed.has(name):
            yield f"{path}[{index}]", f"must be one of: {allowed}"


@dataclass(frozen=True, slots=True)
class Permission:
    """An ``[[allow]]``. What is None is not asked about.

    ``traffic`` False: no traffic may be moved at all. ``servers`` may be moved beside those that have the name of a
    target of the request: with nothing but a backend's name a request could take out servers of others. ``once_hosts``
    are hosts for run-once steps beside those that ``targets`` allows. ``break_glass``: whom it covers may go past
    locks, freezes and missing promotions.
    """

    name: str
    scope: PermissionScope = EVERYWHERE
    users: IdentityNames | None = None
    teams: Names | None = None
    requesters: Names | None = None
    recipes: Names | None = None
    targets: TargetPermission | None = None
    traffic: bool = True
    backends: Names | None = None
    servers: Names | None = None
    balancers: TargetPermission | None = None
    contact: str = ""
    groups: Names | None = None
    once_hosts: Names | None = None
    break_glass: bool = False

    @property
    def is_open_to_all_backends(self) -> bool:
        """Nothing in it says where traffic may be moved."""
        return self.traffic and self.backends is None and self.servers is None and self.balancers is None

    @property
    def lets_everybody_break_glass(self) -> bool:
        return self.break_glass and self.users is None and self.groups is None

    def problems(self, request: DeployRequest, asker: Asker) -> Iterator[Problem]:
        """Everything of the request that this does not allow."""
        yield from self._wrong_identity(asker)
        for field, allowed, given in (
            ("team", self.teams, request.team),
            ("requested_by", self.requesters, request.requested_by),
            ("recipe", self.recipes, request.recipe),
        ):
            if allowed is not None and not allowed.has(given):
                yield Problem(field, f"must be one of: {allowed}")
        if self.targets is not None:
            yield from _at("targets", self.targets.problems(request.targets))
        if request.haproxy is None:
            return
        if not self.traffic:
            yield Problem("haproxy", "must be left out: no traffic may be moved")
            return
        if not self._may_move(request.haproxy.server):
            yield self._wrong_server()
        yield from self._wrong_backends(request.haproxy)
        if self.balancers is not None:
            yield from _at("haproxy.targets", self.balancers.problems(request.haproxy.targets))

    def breaks_glass(self, request: DeployRequest, asker: Asker) -> bool:
        """It lets this identity go past locks and freezes there, whatever else it asks of requests."""
        return self.break_glass and self.scope.covers(request) and not any(self._wrong_identity(asker))

    def _wrong_identity(self, asker: Asker) -> Iterator[Problem]:
        if self.users is not None and not self.users.has(asker):
            yield Problem("user_id", f"must be one of: {self.users}")
        if self.groups is not None and not any(map(self.groups.has, asker.groups)):
            yield Problem("groups", f"must have one of: {self.groups}")

    def _wrong_backends(self, traffic: TrafficRequest) -> Iterator[Problem]:
        """Each must be allowed. What ``"*"`` means is judged when it was found (``Policy.judge_backends``)."""
        if self.backends is None or traffic.every_backend:
            return
        for index, name in enumerate(traffic.backends):
            if not self.backends.has(name):
                field = f"haproxy.backend[{index}]" if traffic.several else "haproxy.backend"
                yield Problem(field, f"must be one of: {self.backends}")

    def refuses_servers(self, request: DeployRequest, names: Sequence[str]) -> Problem | None:
        """What only the targets' names can tell: which servers are meant by text around ``{name}``."""
        if request.haproxy is None or request.haproxy.server == OWN_SERVER:
            return None
        servers = (request.haproxy.server_of(name) for name in names)
        wrong = next((server for server in servers if self.servers is None or not self.servers.has(server)), None)
        return None if wrong is None else self._wrong_server(f", and would be {wrong}")

    def refuses_once(self, host: OnceHost) -> Problem | None:
        """Whether a run-once step may not run there."""
        allowed = self.targets is None or self.targets.has(host)
        if allowed or (self.once_hosts is not None and self.once_hosts.has(host.name)):
            return None
        listed = "" if self.once_hosts is None else f" ({self.once_hosts})"
        return Problem(
            "recipe", f"runs a step once on {host}, which must be of the rule's targets or once_hosts{listed}"
        )

    def _may_move(self, server: str) -> bool:
        if server == OWN_SERVER:
            return True
        return self.servers is not None and (OWN_SERVER in server or self.servers.has(server))

    def _wrong_server(self, found: str = "") -> Problem:
        others = "" if self.servers is None else f" or one of: {self.servers}"
        return Problem("haproxy.server", f'must be "{OWN_SERVER}", the server with the target\'s name{others}{found}')


def _at(path: str, problems: Iterator[tuple[str, str]]) -> Iterator[Problem]:
    for within, text in problems:
        yield Problem(f"{path}.{within}" if within else path, text)
