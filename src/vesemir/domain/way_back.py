"""Which release to go back to, from what was deployed in a lane. Pure: a function of the record.

A release is good where a deployment of it succeeded, and until somebody went back from it: good releases are a stack. A
new one that succeeds goes on top; an older one that succeeds again takes away what was above it, because that was left.
What failed half-way is never on the stack. What changed nothing, or was brought back by itself (``on_failure``), left
no trace on the hosts and counts as if it had not been.

A deployment to some of the hosts says nothing about the others: the one to go back to must *cover* what is gone back
from (the same selector, or all of its hosts).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vesemir.domain.failure import VesemirError
from vesemir.domain.states import DeploymentState


class NoWayBackError(VesemirError):
    """There is nothing to go back from or to; the message says why and what can be done."""


@dataclass(frozen=True, slots=True)
class Past:
    """A deployment that began and was no dry run. ``targets`` are all of its hosts, ``left`` those that it changed and
    did not bring back."""

    deployment_id: str
    version: str
    state: DeploymentState
    selector: Mapping[str, Any]
    targets: frozenset[str]
    left: frozenset[str]

    @property
    def good(self) -> bool:
        return self.state is DeploymentState.SUCCEEDED

    def covers(self, other: "Past") -> bool:
        """Whether it stood wherever the other left something."""
        return self.selector == other.selector or other.left <= self.targets


@dataclass(frozen=True, slots=True)
class WayBack:
    """From what stands now to what was good before it."""

    standing: Past
    good: Past


def find_way_back(history: Sequence[Past], *, version: str | None = None) -> WayBack:
    """The way to the previous good release, or to ``version``; ``history`` has the oldest first.

    Raises ``NoWayBackError``.
    """
    standing = next((past for past in reversed(history) if past.good or past.left), None)
    if standing is None:
        raise NoWayBackError("no deployment has changed anything yet; `vesemir history` lists what there was")
    candidates = _candidates(history, standing)
    if version is not None:
        return WayBack(standing, _of_version(history, standing, version))
    newest = history[-1]
    if standing.good and newest is not standing:
        raise NoWayBackError(_nothing_left(newest, standing, candidates))
    if not candidates:
        raise NoWayBackError(
            f"no release before {standing.version} is known to have been good where that stands (what is older may "
            "have been cleaned up): deploy the one you want with `vesemir deploy`"
        )
    return WayBack(standing, candidates[0])


def good_releases(history: Sequence[Past]) -> list[Past]:
    """The stack, its bottom first."""
    stack: list[Past] = []
    for past in history:
        if not past.good:
            continue
        under = next((index for index, each in enumerate(stack) if each.version == past.version), None)
        if under is not None and all(past.covers(above) for above in stack[under:]):
            del stack[under:]
        stack.append(past)
    return stack


def _candidates(history: Sequence[Past], standing: Past) -> list[Past]:
    """What may be gone back to, the best first."""
    stack = good_releases(history)
    if standing.good:
        stack = stack[: stack.index(standing)]
    return [past for past in reversed(stack) if past.version != standing.version and past.covers(standing)]


def _of_version(history: Sequence[Past], standing: Past, version: str) -> Past:
    for past in reversed(history):
        if past.good and past.version == version and past.covers(standing):
            return past
    some = any(past.good and past.version == version for past in history)
    known = list(dict.fromkeys(past.version for past in reversed(history) if past.good and past.covers(standing)))
    why = "did not succeed on all hosts that it would replace" if some else "never succeeded, as far as the record goes"
    raise NoWayBackError(
        f"{version} {why}; known as good there: {', '.join(known) or 'none'}; any other release is for `vesemir deploy`"
    )


def _nothing_left(newest: Past, standing: Past, candidates: Sequence[Past]) -> str:
    how = "was rolled back by itself" if newest.state is DeploymentState.ROLLED_BACK else "left nothing behind"
    further = "no release before that is known as good"
    if candidates:
        further = f"to go back further, say --to {candidates[0].version}"
    return f"{newest.version} ({newest.deployment_id}) {how}: {standing.version} is what is served; {further}"
