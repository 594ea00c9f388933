"""How many deployments of one identity or application may wait or run at once: what a ``[[limit]]`` says of it. Pure.

Intake holds what waits to it (``TooManyWaiting``), the claim what runs. All identities that belong to one person
(``[[identity]]``) count together, and so do all messages without an identity.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from vesemir.domain.identity import Asker
from vesemir.domain.permission import EVERYWHERE, HasLane, PermissionScope
from vesemir.domain.problem import Problem

QuotaHolder = Literal["identity", "application"]

NO_IDENTITY = ""
"""Of what nobody has proved to have asked for."""

_LONGEST = 120
"""Characters of an identity in a key; of a longer one the rest is a digest."""

QuotaKind = Literal["waiting", "running"]


@dataclass(frozen=True, slots=True)
class Quota:
    """``max_waiting`` and ``max_running`` of one ``[[limit]]``; None is no limit. What is outside its scope does not
    count."""

    name: str
    scope: PermissionScope = EVERYWHERE
    per: QuotaHolder = "identity"
    max_waiting: int | None = None
    max_running: int | None = None
    contact: str = ""

    def held_by(self, asked: HasLane, asker: Asker, *, what: QuotaKind, ask: str) -> "HeldQuota | None":
        """``asker`` as the policy's persons recognise him. ``ask``: whom, in a refusal. None: it is not about this."""
        most = self.max_waiting if what == "waiting" else self.max_running
        if most is None or not self.scope.covers(asked):
            return None
        if self.per == "application":
            return HeldQuota(self.name, most, self.scope, application=asked.application, ask=ask)
        identities = frozenset(map(str, asker.identities)) or frozenset({NO_IDENTITY})
        return HeldQuota(self.name, most, self.scope, identities=identities, ask=ask)


@dataclass(frozen=True, slots=True)
class HeldQuota:
    """A quota as it holds for one request: at most ``most`` of what these identities (``KIND:NAME``, "" for none) asked
    for, or of this application, within ``scope``. ``ask``: whom, in a refusal."""

    rule: str
    most: int
    scope: PermissionScope = EVERYWHERE
    identities: frozenset[str] = frozenset()
    application: str | None = None
    ask: str = ""

    @property
    def key(self) -> str:
        """What counts for it: the name of the rule, a space, and whose deployments. One for all of a person."""
        if self.application is not None:
            return f"{self.rule} application:{self.application}"
        return f"{self.rule} {_short(min(self.identities))}"

    @property
    def holder(self) -> str:
        """In a message."""
        if self.application is not None:
            return self.application
        return ", ".join(sorted(self.identities - {NO_IDENTITY})) or "without an identity"

    def counts(self, waiting: "Waiting") -> bool:
        mine = (
            waiting.identity in self.identities if self.application is None else waiting.application == self.application
        )
        return mine and self.scope.covers(waiting)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Of a deployment that waits: whose it is, and its lane."""

    identity: str
    application: str
    environment: str

    @classmethod
    def of(cls, asker: Asker, lane: HasLane) -> "Waiting":
        return cls(str(asker.identity or NO_IDENTITY), lane.application, lane.environment)


@dataclass(frozen=True, slots=True)
class TooManyWaiting:
    """Why a deployment is not accepted now. ``waiting``: how many wait already."""

    quota: HeldQuota
    waiting: int

    @property
    def problem(self) -> Problem:
        quota = self.quota
        per = "user_id" if quota.application is None else "application"
        number = f"{self.waiting} deployment{'' if self.waiting == 1 else 's'}"
        text = (
            f"has {number} waiting ({quota.holder}), and at most {quota.most} may: send it again when some have begun, "
            "or cancel some"
        )
        rule = f"limit {quota.rule}"
        return Problem(per, f"{text} [{rule}]; ask {quota.ask}", rule=rule)


def _short(name: str) -> str:
    """Names may be of any length, keys not."""
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}#{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


class WaitingCount:
    """How many wait, of those that any of the quotas is about; what is admitted counts for the next."""

    def __init__(self, found: Iterable[tuple[Waiting, int]]) -> None:
        self._counts = dict(found)

    def admit(self, quotas: Iterable[HeldQuota], new: Waiting) -> TooManyWaiting | None:
        """Count one more, unless a quota is full."""
        for quota in quotas:
            waiting = self.of(quota)
            if waiting >= quota.most:
                return TooManyWaiting(quota, waiting)
        self.add(new)
        return None

    def of(self, quota: HeldQuota) -> int:
        return sum(count for each, count in self._counts.items() if quota.counts(each))

    def add(self, new: Waiting) -> None:
        """One that no quota is about counts for those of others."""
        self._counts[new] = self._counts.get(new, 0) + 1
