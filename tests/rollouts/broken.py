"""A release whose application does not start, under load: stopped after the first target, or taken back everywhere.

And one that starts everywhere but on the last box: all that serve it by then are brought back, with the same care.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.acceptance.installed_lab import Lab
from tests.rollouts.arena import CLIENTS, deployed
from tests.rollouts.load import Seen, load

BROKEN = "3.0.0-broken"


@dataclass(frozen=True)
class Case:
    """What is asked. ``artifact`` is the release; ``changes`` says whether some box is to have served it meanwhile."""

    artifact: Mapping[str, str]
    on_failure: str
    concurrency: int
    changes: bool = False

    def __str__(self) -> str:
        return f"{self.artifact['version']}, on_failure {self.on_failure}, concurrency {self.concurrency}"


@dataclass
class Broken:
    """One rollout of it. ``serves`` is what each box answers afterwards, past HAProxy; None for one that does not."""

    case: Case
    result: dict[str, Any]
    seen: Seen
    before: dict[str, str]
    serves: dict[str, str | None]
    drained: list[str]

    @property
    def statuses(self) -> list[str]:
        """Of the targets, in the plan's order."""
        return [target["status"] for target in self.result.get("targets", [])]

    def told(self) -> str:
        same = sum(self.serves[name] == version for name, version in self.before.items())
        counts = ", ".join(f"{self.statuses.count(status)} {status}" for status in dict.fromkeys(self.statuses))
        return (
            f"{self.case}: {self.result.get('status')} ({counts}); "
            f"{same} of {len(self.before)} boxes serve the release that they had, "
            f"{', '.join(self.drained) or 'none'} left out of traffic; "
            f"{self.seen.total} requests meanwhile, {self.seen.failed} failed"
        )

    def complaints(self) -> list[str]:
        """What was promised and did not hold."""
        found = [f"{self.seen.failed} requests failed", *self.seen.first] if self.seen.failed else []
        if bool(self.seen.boxes_with(self.case.artifact["version"])) is not self.case.changes:
            found.append(f"answered with the new release: {self.seen.boxes_with(self.case.artifact['version'])}")
        first = self.result["targets"][0]["name"] if self.statuses else ""
        if self.case.on_failure == "stop":
            rest = ["skipped"] * (len(self.before) - 1)
            if (self.result.get("status"), self.statuses) != ("failed", ["failed", *rest]) or self.drained != [first]:
                found.append(f"not stopped after the first target: {self.told()}")
            expected = {name: version for name, version in self.before.items() if name != first}
        else:
            if self.result.get("status") != "rolled_back" or self.drained:
                found.append(f"not rolled back: {self.told()}")
            expected = self.before
        wrong = [name for name, version in expected.items() if self.serves[name] != version]
        return [*found, *([f"another release than before: {', '.join(wrong)}"] if wrong else [])]


async def broken_release(lab: Lab, case: Case) -> Broken:
    """To every box of a lab that has a daemon and whose boxes all serve."""
    before = {name: lab.serves(name)["version"] for name in lab.names}
    event = lab.event() | {"version": case.artifact["version"]}
    event["parameters"] = {f"artifact_{part}": case.artifact[part] for part in ("url", "sha256")}
    event["haproxy"] |= {"weight": [10, 50], "degradation_seconds": 1}
    event["rollout"] = {"concurrency": case.concurrency, "on_failure": case.on_failure}
    event["rollout"] |= {"min_available": "50%", "min_healthy_seconds": 0}
    urls = [balancer["http_url"] for balancer in lab["balancers"]]
    async with load(urls, **CLIENTS) as seen:
        result = await deployed(lab, event)
    drained = [name for name, server in lab.servers().items() if not server.takes_traffic]
    return Broken(case, result, seen, before, {name: _served(lab, name) for name in before}, drained)


def _served(lab: Lab, name: str) -> str | None:
    try:
        return lab.serves(name)["version"]
    except OSError:
        return None
