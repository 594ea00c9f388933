"""From targets to batches: which are worked on at the same time, and in which order. Pure.

The canary comes first, in batches no larger than the concurrency; with ``order_by`` no batch mixes the values of that
inventory attribute, and one value is done before the next begins (a zone for instance). Order within that is the
inventory's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.request import Rollout
from vesemir.domain.target import Target

_NAMED = 10
"""Hosts that a message names."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Counted from 1. ``group`` numbers the values of ``order_by``; a sliding window stays within one."""

    number: int
    names: tuple[str, ...]
    canary: bool
    group: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is decided before anything starts. ``concurrency`` and ``max_failures`` are numbers of targets here."""

    batches: tuple[Batch, ...]
    concurrency: int
    max_failures: int
    mode: Literal["batch", "window"] = "batch"
    on_failure: Literal["stop", "rollback", "continue"] = "stop"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for batch in self.batches for name in batch.names)

    @property
    def canaries(self) -> frozenset[str]:
        return frozenset(name for batch in self.batches if batch.canary for name in batch.names)

    def way_back(self, changed: frozenset[str], *, broken: frozenset[str]) -> "Plan":
        """A rollback of the targets that were changed, in the same order and batches.

        Those that are ``broken`` come first: they are out of traffic, so bringing them back costs no capacity, and
        while they are out there may be too little of it for the others to leave (``min_available``).
        """
        parts = (changed & broken, changed - broken)
        kept = (tuple(name for name in batch.names if name in part) for part in parts for batch in self.batches)
        batches = [
            Batch(number, chosen, canary=False, group=0) for number, chosen in enumerate(filter(None, kept), start=1)
        ]
        return Plan(tuple(batches), self.concurrency, len(changed), on_failure="continue")


def make_plan(targets: Sequence[Target], rollout: Rollout) -> Plan:
    """Batches for these targets. Raises ``FailedError``: ``targets.none_found``, ``targets.too_few``."""
    total = len(targets)
    if total == 0:
        raise FailedError(FailureCode.TARGETS_NONE_FOUND, "the selector finds no host; check its tags or groups")
    if total < rollout.min_targets:
        raise FailedError(
            FailureCode.TARGETS_TOO_FEW,
            f"{'1 host was' if total == 1 else f'{total} hosts were'} found ({', '.join(_first(targets))}) and "
            f"rollout.min_targets asks for {rollout.min_targets}; "
            "check the inventory, or lower min_targets if that is meant",
        )
    concurrency = rollout.concurrency.down(total, at_least=1)
    canary = min(total, rollout.canary.down(total, at_least=1 if rollout.canary.amount else 0))
    return Plan(
        batches=tuple(_batches(_ordered(targets, rollout.order_by), canary=canary, concurrency=concurrency)),
        concurrency=concurrency,
        max_failures=rollout.max_failures.down(total),
        mode=rollout.mode,
        on_failure=rollout.on_failure,
    )


def _ordered(targets: Sequence[Target], order_by: str | None) -> list[tuple[int, str]]:
    """(group, name) in the order of work; the sort is stable, so the inventory's order holds within a value."""
    if order_by is None:
        return [(0, target.name) for target in targets]
    by_value = sorted(targets, key=lambda target: target.variables.get(order_by, ""))
    groups = groupby(by_value, key=lambda target: target.variables.get(order_by, ""))
    return [(number, target.name) for number, (_, members) in enumerate(groups) for target in members]


def _batches(ordered: Sequence[tuple[int, str]], *, canary: int, concurrency: int) -> Iterator[Batch]:
    number = 0
    parts = [(True, ordered[:canary]), (False, ordered[canary:])]
    for is_canary, part in parts:
        for group, members in groupby(part, key=lambda pair: pair[0]):
            names = [name for _, name in members]
            for start in range(0, len(names), concurrency):
                number += 1
                yield Batch(number, tuple(names[start : start + concurrency]), canary=is_canary, group=group)


def _first(targets: Sequence[Target]) -> list[str]:
    """Some names, to see by them who is missing."""
    names = [target.name for target in targets[:_NAMED]]
    return [*names, "…"] if len(targets) > _NAMED else names
