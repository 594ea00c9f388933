"""What must have gone well elsewhere before: one ``[[promote]]`` of the policy. Pure: the record's answer is given.

What counts is that the same version, and with ``same_artifact`` the very same artifact, was brought to the other
environment long enough ago. What happened there since is for people to see: what an older release there means is
not judged here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from vesemir.domain.duration import limit_text
from vesemir.domain.permission import EVERYWHERE, HasLane, PermissionScope
from vesemir.domain.problem import Problem
from vesemir.domain.request import DeployRequest

ARTIFACT = "artifact_sha256"
"""The parameter that says which artifact it is (contract section 2)."""

_SHOWN = 12
"""Characters of a checksum in a message."""
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Success:
    """A deployment, no dry run, that brought the version to an environment so long ago, by the record's clock."""

    environment: str
    deployment_id: str
    seconds_ago: float
    artifact: str | None = None
    """Its parameter ``artifact_sha256``, as it was given."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A ``[[promote]]``. ``soak`` in seconds. The environment that it names needs no success in itself."""

    name: str
    require_success_in: str
    scope: PermissionScope = EVERYWHERE
    soak: float = 0
    same_artifact: bool = True
    contact: str = ""

    def covers(self, asked: HasLane) -> bool:
        return asked.environment != self.require_success_in and self.scope.covers(asked)

    def problem(self, request: DeployRequest, successes: Sequence[Success]) -> Problem | None:
        """``successes``: of this application and version, in any environment."""
        there = [each for each in successes if each.environment == self.require_success_in]
        what = f"{request.version} of {request.application}"
        if not there:
            return Problem(
                "version",
                f"has no success in {self.require_success_in}: deploy {what} there first, and send this again (with a "
                "new id) when that has succeeded",
            )
        fitting = [each for each in there if not self.same_artifact or _same(each.artifact, artifact_of(request))]
        if not fitting:
            return self._another_artifact(there)
        first = max(fitting, key=lambda each: each.seconds_ago)
        if first.seconds_ago >= self.soak:
            return None
        return Problem(
            "version",
            f"has been in {self.require_success_in} for {_about(first.seconds_ago)} ({first.deployment_id}), and "
            f"{limit_text(self.soak)} are asked for: send it again in {_about(self.soak - first.seconds_ago)}",
        )

    def _another_artifact(self, there: Sequence[Success]) -> Problem:
        """This request's own is not shown: a recipe may call it a secret."""
        last = min(there, key=lambda each: each.seconds_ago)
        success = f"the success in {self.require_success_in} ({last.deployment_id}: {_shown(last.artifact)})"
        return Problem(f"parameters.{ARTIFACT}", f"must be that of {success}: deploy this artifact there first")

    @property
    def text(self) -> str:
        """What it asks for, in a line."""
        soak = f", {limit_text(self.soak)} ago" if self.soak else ""
        what = "artifact" if self.same_artifact else "version"
        return f"a success of the same {what} in {self.require_success_in}{soak}"


def artifact_of(request: DeployRequest) -> str | None:
    given = request.parameters.get(ARTIFACT)
    return None if given is None else str(given)


def _same(one: str | None, other: str | None) -> bool:
    """Digits of checksums may be of either case."""
    return (one or "").lower() == (other or "").lower()


def _shown(artifact: str | None) -> str:
    if artifact is None:
        return f"no {ARTIFACT}"
    return artifact if len(artifact) <= _SHOWN else f"{artifact[:_SHOWN]}…"


def _about(seconds: float) -> str:
    """Rounded up, in a unit that people think in."""
    if seconds < 2 * _MINUTE:
        return f"{max(1, ceil(seconds))} s"
    return f"{ceil(seconds / _MINUTE)} min" if seconds < 2 * _HOUR else f"{ceil(seconds / _HOUR)} h"
