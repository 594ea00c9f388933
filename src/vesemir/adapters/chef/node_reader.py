"""From a node's attributes, as a partial search gives them, to a target. Everything a server says is checked here.

A missing attribute comes as null or as the text ``ERROR - Attribute does not exist``. The first attribute of a list
that a node has is taken; one that is there but cannot be used is an error and not skipped, since the next in the list
might be another host's.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, TypeVar

from vesemir.adapters.chef.own_address import is_own_address
from vesemir.adapters.chef.query import ChefMembership
from vesemir.domain.login import DEFAULT_PORT, refuse_address, refuse_port, refuse_user
from vesemir.domain.names import Names
from vesemir.domain.node_rules import NodeRules, PortRange
from vesemir.domain.problem import some_of
from vesemir.domain.selector import HOST_NAME
from vesemir.domain.target import Target
from vesemir.settings import ChefClusterSettings, NodeRulesSettings

T = TypeVar("T")

NAME = "name"
_OWN = {
    NAME: ("name",),
    "environment": ("chef_environment",),
    "tags": ("tags",),
    "roles": ("roles",),
    "recipes": ("recipes",),
    "converged": ("ohai_time",),
}
_MISSING_TEXT = "ERROR - Attribute does not exist"
_DAY, _HOUR, _MINUTE = 24 * 3600, 3600, 60
_SHOWN = 80
_LONGEST_REASON = 300
_LONGEST_NAME = 128
_LATEST = 1e11
"""Seconds since 1970: far beyond any time that a node can mean."""
MOST_VARIABLES = 500
MOST_CHARACTERS = 256 * 1024
"""Of one node. A value goes to the host in the environment of a program, which holds less (execve(2))."""


class AttributeProblemError(ValueError):
    """A node that cannot become a target; the message says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as a target, with what selectors name and how long ago it converged."""

    target: Target
    belonging: ChefMembership
    idle_seconds: float | None
    """None: it has never told."""


class NodeReader:
    """Which attributes to ask one cluster for, and what to make of them. ``cluster`` is its name."""

    def __init__(self, settings: ChefClusterSettings, *, cluster: str) -> None:
        self._settings = settings
        self._cluster = cluster
        self._rules = rules_of(settings)

    @property
    def wanted(self) -> dict[str, list[str]]:
        """The body of a partial search: a key of ours for each attribute's path."""
        settings = self._settings
        paths = [
            *settings.address_attributes,
            *settings.port_attributes,
            *settings.user_attributes,
            settings.variables_attribute,
            *settings.variables.values(),
        ]
        return {key: list(path) for key, path in _OWN.items()} | {_key(path): path.split(".") for path in paths}

    def belonging(self, row: Mapping[str, Any]) -> ChefMembership:
        """What the node is part of; anything that is no list of texts counts as nothing."""
        environment = _present(row.get("environment"))
        return ChefMembership(
            tags=_texts(row.get("tags")),
            roles=_texts(row.get("roles")),
            recipes=_texts(row.get("recipes")),
            environment=environment if isinstance(environment, str) else "",
        )

    def idle_seconds(self, row: Mapping[str, Any], *, now: float) -> float | None:
        """Since the node last converged (``ohai_time``, seconds since 1970); None if it has never told.

        Raises ``AttributeProblemError``.
        """
        value = _present(row.get("converged"))
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        if not 0 <= value <= _LATEST:  # also what is no number at all (NaN), or has 400 digits
            raise AttributeProblemError(f"ohai_time: {_shown(value)} is no time in seconds since 1970")
        return now - value

    def target(self, row: Mapping[str, Any], *, idle_seconds: float | None) -> Target:
        """Raises ``AttributeProblemError``."""
        name: str = row[NAME]
        if HOST_NAME.fullmatch(name) is None:
            raise AttributeProblemError("its name is no host name: 1-253 of A-Za-z0-9._-")
        settings = self._settings
        found = _first(row, settings.address_attributes, _address)
        if found is None:
            raise AttributeProblemError(f"it has none of {', '.join(settings.address_attributes)}")
        address, attribute = found
        port = _first(row, settings.port_attributes, _port)
        user = _first(row, settings.user_attributes, _user)
        claimed = self._variables(row)
        self._permit(address, port, user, claimed)
        return Target(
            name=name,
            address=address,
            port=port[0] if port else DEFAULT_PORT,
            user=user[0] if user else "",
            variables={**claimed, **self._rules.fixed},
            source=f"{source_of(self._cluster)}{attribute}{self._idle_text(idle_seconds)}",
            claimed=frozenset(claimed),
        )

    def refuse_address(self, address: str) -> str | None:
        """Why the operator's rules do not allow it; None when they do, or when it is a name."""
        return self._rules.refuse_address(address, is_own=is_own_address)

    def _permit(
        self, address: str, port: tuple[int, str] | None, user: tuple[str, str] | None, variables: Mapping[str, str]
    ) -> None:
        """Raises ``AttributeProblemError`` with everything that the operator's rules have against it."""
        refusals = [
            self.refuse_address(address),
            port and self._rules.refuse_port(port[0]),
            user and self._rules.refuse_user(user[0]),
            *(self._rules.refuse_variable(name) for name in variables),
        ]
        if reasons := [_cut(reason, _LONGEST_REASON) for reason in refusals if reason]:
            raise AttributeProblemError(some_of(reasons))

    def is_stale(self, idle_seconds: float | None) -> bool:
        return idle_seconds is None or idle_seconds > self._settings.stale_after_seconds

    def _idle_text(self, idle_seconds: float | None) -> str:
        if not self.is_stale(idle_seconds):
            return ""
        return f" ({'never converged' if idle_seconds is None else f'not converged for {_long(idle_seconds)}'})"

    def _variables(self, row: Mapping[str, Any]) -> dict[str, str]:
        path = self._settings.variables_attribute
        found = _present(row.get(_key(path)))
        if found is not None and not isinstance(found, Mapping):
            raise AttributeProblemError(f"{path} is {_shown(found)}, not a mapping of variables")
        named = {name: _present(row.get(_key(of))) for name, of in self._settings.variables.items()}
        given = {**(found or {}), **{name: value for name, value in named.items() if value is not None}}
        if len(given) > MOST_VARIABLES:
            raise AttributeProblemError(f"{path} has {len(given)} variables; at most {MOST_VARIABLES} are read")
        claimed = {name: _variable(name, value) for name, value in given.items() if name not in self._rules.fixed}
        if sum(map(len, claimed.values())) > MOST_CHARACTERS:
            raise AttributeProblemError(f"{path} holds more than {MOST_CHARACTERS >> 10} KiB")
        return claimed


def source_of(cluster: str) -> str:
    """How ``Target.source`` begins for a node of this cluster; it is recorded with the target."""
    return f"chef {cluster}: "


def rules_of(settings: NodeRulesSettings) -> NodeRules:
    """The operator's rules in the domain's terms."""
    return NodeRules(
        networks=settings.allowed_networks,
        users=None if settings.allowed_users is None else Names(settings.allowed_users),
        ports=None if settings.allowed_ports is None else tuple(map(_port_range, settings.allowed_ports)),
        variables=None if settings.allowed_variables is None else Names(settings.allowed_variables),
        fixed=settings.fixed_variables,
    )


def _port_range(given: int | str) -> PortRange:
    first, _, last = str(given).partition("-")
    return PortRange(int(first), int(last or first))


def _key(path: str) -> str:
    return f"attribute {path}"


def _present(value: object) -> object:
    """The value, or None for both ways to say that there is none."""
    return None if value == _MISSING_TEXT or value in ("", [], {}) else value


def _first(row: Mapping[str, Any], paths: Sequence[str], read: Callable[[object], T]) -> tuple[T, str] | None:
    """The first attribute that the node has, and its path. Raises ``AttributeProblemError``."""
    for path in paths:
        value = _present(row.get(_key(path)))
        if value is not None:
            try:
                return read(value), path
            except ValueError as error:
                raise AttributeProblemError(f"{path}: {error}") from error
    return None


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no text with an address in it")  # noqa: TRY004 -- _first expects it
    if re.fullmatch(r"[0-9.]+", value):
        return str(IPv4Address(value))
    if reason := refuse_address(value):
        raise ValueError(_cut(reason))
    return value


def _port(value: object) -> int:
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value) else value
    if not isinstance(number, int) or isinstance(number, bool) or refuse_port(number):
        raise ValueError(f"{_shown(value)} is no port: 1-65535")
    return number


def _user(value: object) -> str:
    if not isinstance(value, str) or refuse_user(value):
        raise ValueError(f"{_shown(value)} is no user name")
    return value


def _variable(name: str, value: object) -> str:
    """Text as it is; numbers, booleans, lists and mappings as JSON writes them, as in Ansible inventories."""
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise AttributeProblemError(f"the variable {_cut(repr(name))} has a name that no recipe can read")
    try:
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
        text.encode()
    except RecursionError as error:
        raise AttributeProblemError(f"the variable {_cut(name)} is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise AttributeProblemError(f"the variable {_cut(name)} is no text: half of a surrogate pair") from error
    if "\0" in text:
        raise AttributeProblemError(f"the variable {_cut(name)} holds a NUL character")
    return text


def _texts(value: object) -> frozenset[str]:
    if isinstance(value, str) and value != _MISSING_TEXT:
        return frozenset({value})
    return frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else f"a mapping of {len(value)}"
    return _cut(json.dumps(value))


def _cut(text: str, longest: int = _SHOWN) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _long(seconds: float) -> str:
    """``3 days``, ``5 hours``, ``12 minutes``, ``90 seconds``."""
    for unit, of in (("days", _DAY), ("hours", _HOUR), ("minutes", _MINUTE)):
        if seconds >= 2 * of:
            return f"{seconds / of:.0f} {unit}"
    return f"{seconds:.0f} seconds"
