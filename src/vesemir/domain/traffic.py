"""A server in HAProxy as it is at one moment, and the rules that decide over its traffic; pure.

Figures and texts are HAProxy's own (management.txt, "show stat" and "show servers state"; measured on 2.6).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from vesemir.domain.failure import FailedError, FailureCode

STATIC_ALGORITHMS = frozenset({"static-rr", "first"})
"""They know a server at 0 % and at 100 % only: static-rr refuses other weights, first ignores them."""

HASH_ALGORITHMS = frozenset({"source", "uri", "url_param", "hdr", "rdp-cookie", "hash"})
"""Static with ``hash-type map-based`` (the default), dynamic with ``consistent``; HAProxy does not tell which."""

_CHECKS_PASSED = frozenset({"L4OK", "L6OK", "L7OK", "L7OKC", "PROCOK"})
"""Of ``check_status`` (management.txt, "show stat")."""

_NAME = re.compile(r"[A-Za-z0-9_.:-]+")
"""Proxy and server names as HAProxy's configuration allows them; nothing in it ends or splits a command."""


def checked_server_name(name: str) -> str:
    """The name of a backend or a server, if it may stand in a command. Raises ``FailedError``."""
    if _NAME.fullmatch(name) is None:
        raise FailedError(
            FailureCode.HAPROXY_UNKNOWN_SERVER,
            f"{name!r} cannot be a backend or server of HAProxy: names consist of A-Z a-z 0-9 _ . : -",
        )
    return name


class AdminState(StrEnum):
    """What somebody asked for: the words of ``set server B/S state``."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"

    @classmethod
    def from_bits(cls, bits: int) -> "AdminState":
        """``srv_admin_state``: 0x01, 0x02 and 0x20 are kinds of maint, 0x08 and 0x10 of drain; maint wins.

        0x04 says that the configuration has ``disabled`` (it stays when the server was set ready since), 0x40 that the
        FQDN was set over the socket.
        """
        if bits & 0x23:
            return cls.MAINT
        return cls.DRAIN if bits & 0x18 else cls.READY


@dataclass(frozen=True, slots=True)
class HaproxyProcess:
    """The one that answers. A reload starts another; ``age_seconds`` are whole ones, so it may be a second older."""

    process_id: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server of one backend on one HAProxy.

    ``status`` is the exact text of ``show stat``. ``check_health``, ``rise`` and ``fall`` are None where HAProxy shows
    none (in maint, without a check). ``weight`` is the effective one, ``user_weight`` what was set last,
    ``configured_weight`` what the configuration says (0 to 256 each). ``check_said`` is the last check's result in
    HAProxy's words (``L4CON Layer4 connection problem``). ``tracks`` names the server whose checks count.
    """

    name: str
    admin: AdminState
    status: str
    weight: int
    user_weight: int
    configured_weight: int
    current_sessions: int = 0
    queued: int = 0
    check_health: int | None = None
    rise: int | None = None
    fall: int | None = None
    has_check: bool = True
    has_agent: bool = False
    agent_enabled: bool = False
    check_said: str = ""
    tracks: str = ""
    algorithm: str = ""
    is_empty_slot: bool = False
    """Of a ``server-template``: it has no address yet, so it is in maint, and counts as no server of the backend."""

    @property
    def is_up(self) -> bool:
        """UP, on its way down but still UP (``UP 1/3``), or without checks; nothing else is."""
        return self.admin is AdminState.READY and (
            self.status in {"UP", "no check"} or _is_counted(self.status, word="UP")
        )

    @property
    def is_available(self) -> bool:
        """UP and with a share of the traffic: at weight 0 HAProxy still says UP."""
        return self.is_up and self.weight > 0

    @property
    def shown(self) -> str:
        """What HAProxy shows of it, for a text."""
        return f"{self.status!r}{f' ({self.check_said})' if self.check_said else ''}"

    @property
    def last_check_passed(self) -> bool:
        """By the last check's own result, however long ago that was; ``*`` before it: one is under way."""
        return self.check_said.removeprefix("* ").partition(" ")[0] in _CHECKS_PASSED

    @property
    def is_fresh_pass(self) -> bool:
        """A check passed since the server left maint: leaving it sets the health to ``rise`` before any check.

        With ``fall 1`` those two are the same figure, so there the caller marks the server down first.
        """
        if self.check_health is None or self.rise is None or self.fall is None:
            return False
        return self.status == "DRAIN" and self.check_health == self.rise + self.fall - 1

    @property
    def is_idle(self) -> bool:
        """No session is on it and none waits for it."""
        return self.current_sessions == 0 and self.queued == 0

    @property
    def is_taken_out(self) -> bool:
        """In drain or maint, or at a user weight of 0, which is how many people drain."""
        return self.admin is not AdminState.READY or (self.user_weight == 0 and self.configured_weight > 0)


def _is_counted(status: str, *, word: str) -> bool:
    """``UP 1/3``: the word, then two numbers."""
    head, _, rest = status.partition(" ")
    have, slash, wanted = rest.partition("/")
    return head == word and slash == "/" and have.isdecimal() and wanted.isdecimal()


def weight_at(configured: int, percent: int) -> int:
    """What HAProxy makes of ``weight N%``: in integers, and at most 256."""
    return min(configured * percent // 100, 256)


def check_weights(server: ServerState, percents: Iterable[int]) -> None:
    """Refuse, before anything starts, a share of traffic that HAProxy would not give."""
    for percent in percents:
        if server.algorithm in STATIC_ALGORITHMS:
            raise FailedError(
                FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO,
                f"The backend balances by {server.algorithm}, which knows servers at 0 % and at 100 % only: "
                "leave weight out of the request or use a dynamic algorithm (roundrobin, leastconn)",
            )
        if weight_at(server.configured_weight, percent) == 0:
            raise FailedError(
                FailureCode.HAPROXY_WEIGHT_ROUNDS_TO_ZERO,
                f"{percent} % of the configured weight {server.configured_weight} of server {server.name} is 0: "
                "give the servers a larger weight in HAProxy's configuration (100) or ask for a larger weight",
            )


def serves_on_all(views: Iterable[Mapping[str, ServerState] | None], server: str) -> bool | None:
    """Whether it is available in every view (a backend on a load balancer; None: could not be asked).

    One view that has it not, or not available, is enough for False; None where it is not known.
    """
    found = list(views)
    for view in found:
        if view is not None and not (server in view and view[server].is_available):
            return False
    return None if not found or None in found else True
