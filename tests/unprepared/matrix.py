"""Each cause at several concurrencies, prepared one by one or all at once: nobody notices, and the next succeeds."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.installed_lab import Event, Lab
from tests.rollouts.arena import followed
from tests.rollouts.load import Seen
from tests.unprepared.causes import CAUSES, STEP_SECONDS
from tests.unprepared.servers import Watch, states, watched, wrong

COLUMNS = (
    "cause", "prepare", "concurrency", "exit", "status", "targets", "codes of the targets", "out at once",
    "not in traffic after", "requests", "failed", "seconds",
)  # fmt: skip
CORRECTED = "none: corrected"


@dataclass(frozen=True)
class Cell:
    """What is asked of one rollout; without a cause it is the corrected one."""

    cause: str
    prepare: str = "target"
    concurrency: int | str = "50%"

    def failing(self, boxes: int) -> int:
        """How many targets find it out before the rollout stops."""
        if self.prepare == "all":
            return boxes
        if isinstance(self.concurrency, int):
            return self.concurrency
        return max(1, boxes * int(self.concurrency.removesuffix("%")) // 100)


@dataclass
class Tried:
    """What was seen of it."""

    cell: Cell
    exit: int | None
    result: Mapping[str, Any]
    watch: Watch
    before: Mapping[str, Mapping[str, str]]
    after: Mapping[str, Mapping[str, str]]
    requests: int
    failed: int
    failures: Sequence[str]
    """The first ones of the whole run."""
    seconds: float
    versions: set[str] = field(default_factory=set)
    """What the boxes serve, past HAProxy."""

    @property
    def targets(self) -> Sequence[Mapping[str, Any]]:
        return list(self.result.get("targets") or [])

    def row(self) -> tuple[object, ...]:
        codes = {(target["failure"] or {}).get("code") for target in self.targets if target["failure"]}
        return (
            self.cell.cause, self.cell.prepare, self.cell.concurrency, self.exit, self.result.get("status"),
            _counted(self.targets), ", ".join(sorted(map(str, codes))) or "-", self.watch.most_out,
            len(wrong(self.after)), self.requests, self.failed, f"{self.seconds:.1f}",
        )  # fmt: skip

    def complaints(self) -> list[str]:
        """What was promised and did not hold."""
        found = [f"{self.failed} requests failed", *self.failures] if self.failed else []
        if self.after != self.before:
            found.append(f"a server is not as before: {wrong(self.after) or self.after}")
        if {target.get("in_traffic") for target in self.targets} - {True, None}:
            found.append("a target is said to be out of traffic")
        found += self._of_the_corrected() if self.cell.cause == CORRECTED else self._of_the_failed()
        return [f"{self.cell}: {text}" for text in found]

    def _of_the_corrected(self) -> list[str]:
        found = []
        if (self.exit, self.result.get("status")) != (0, "succeeded"):
            found.append(f"exit {self.exit}, {self.result.get('status')}: {self.result.get('failure')}")
        if self.versions != {self.result.get("version")}:
            found.append(f"the boxes serve {sorted(self.versions)}")
        return found

    def _of_the_failed(self) -> list[str]:
        cause, found = CAUSES[self.cell.cause], []
        failed = [target for target in self.targets if target["failure"]]
        told = (self.exit, self.result.get("status"), (self.result.get("failure") or {}).get("code"))
        if told != (1, "failed", "rollout.too_many_failures"):
            found.append(f"exit, status and code are {told}: {self.result.get('failure')}")
        if {(target["status"], target["failure"]["code"]) for target in failed} != {(cause.status, cause.code)}:
            found.append(f"not {cause.code}: {[target['failure'] for target in failed]}")
        if any(cause.says not in target["failure"]["message"] for target in failed):
            found.append(f"a message without {cause.says!r}: {failed[0]['failure']['message']}")
        if any(f"step {cause.step} " not in target["failure"]["message"] for target in failed):
            found.append(f"not the step {cause.step}: {failed[0]['failure']['message']}")
        if len(failed) != self.cell.failing(len(self.before)):
            found.append(f"{len(failed)} targets failed: {_counted(self.targets)}")
        if self.watch.most_out:
            found.append(f"{self.watch.most_out} servers were out at once")
        return found


def _counted(targets: Sequence[Mapping[str, Any]]) -> str:
    statuses = [target["status"] for target in targets]
    return ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))


async def tried(lab: Lab, cell: Cell, seen: Seen, *, site: str) -> Tried:
    """One rollout to all boxes, of a release that none of them has; ``seen`` are clients that ask all the while."""
    version = await asyncio.to_thread(lab.other_version)
    event = await asyncio.to_thread(lab.event, version)
    event["rollout"] = {
        "concurrency": cell.concurrency, "prepare": cell.prepare, "min_available": 0, "min_healthy_seconds": 0,
    }  # fmt: skip
    return await followed_under_load(lab, cell, event, seen, site=site)


async def followed_under_load(lab: Lab, cell: Cell, event: Event, seen: Seen, *, site: str = "") -> Tried:
    """The event with what its cause changes of it, while the cause stands."""
    cause = CAUSES.get(cell.cause)
    before, requests, failed = states(lab), seen.total, seen.failed
    if cause is not None:
        event["parameters"] |= {name: text.format(site=site) for name, text in cause.parameters.items()}
        event["timeouts"] = {"step": STEP_SECONDS}
        with cause.standing(lab):
            exit_status, result, watch, seconds = await _followed(lab, event)
    else:
        exit_status, result, watch, seconds = await _followed(lab, event)
    return Tried(
        cell, exit_status, result, watch, before, states(lab), seen.total - requests, seen.failed - failed,
        seen.first, seconds, {lab.serves(name)["version"] for name in lab.names},
    )  # fmt: skip


async def _followed(lab: Lab, event: Event) -> tuple[int | None, Mapping[str, Any], Watch, float]:
    async with watched(lab) as watch:
        began = time.monotonic()
        exit_status, result = await followed(lab, event)
        return exit_status, result, watch, time.monotonic() - began
