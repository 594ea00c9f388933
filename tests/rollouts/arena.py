"""One rollout under load: the deploy command, clients all the while, every HAProxy reloaded in the middle."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.acceptance.installed_lab import COMMAND, Lab, own_environment
from tests.rollouts.load import Seen, load

from vesemir.lab.haproxy import ask, out_of_traffic, reload_balancer
from vesemir.lab.places import Places

ROLLOUT_SECONDS = 300.0
LOOK_SECONDS = 0.05
CLIENTS = {"keeping": 40, "fresh": 4, "slow": 6}


@dataclass(frozen=True)
class Cell:
    """What is asked of one rollout. ``reloads``: how often each HAProxy is reloaded while it goes on."""

    concurrency: int | str
    balancers: int
    reloads: int
    weights: tuple[int, ...] = (10, 50)
    hold_seconds: float = 1

    def most(self, boxes: int) -> int:
        """How many targets may be worked on at once."""
        if isinstance(self.concurrency, int):
            return self.concurrency
        return max(1, boxes * int(self.concurrency.removesuffix("%")) // 100)


@dataclass
class Outcome:
    """What was seen of it. ``most_out``: servers in drain or maint, on any HAProxy, at the same moment."""

    cell: Cell
    seen: Seen
    result: dict[str, Any]
    seconds: float
    most_out: int
    reloads: int
    late: set[str]
    """Boxes that do not answer with the new release although it is over."""
    not_back: list[str]
    """Servers that are not ready with all of their weight, on any HAProxy."""

    def complaints(self, boxes: int) -> list[str]:
        """What was promised and did not hold."""
        found = []
        if self.result.get("status") != "succeeded":
            found.append(f"the rollout ended as {self.result.get('status')}: {self.result.get('failure')}")
        if self.seen.failed:
            found += [f"{self.seen.failed} requests failed", *self.seen.first]
        if self.most_out > self.cell.most(boxes):
            found.append(f"{self.most_out} servers were out at once")
        if self.late:
            found.append(f"not seen with the new release: {', '.join(sorted(self.late))}")
        if self.not_back:
            found.append(f"not ready at 100 %: {', '.join(self.not_back)}")
        if self.reloads < self.cell.reloads * self.cell.balancers:
            found.append(f"HAProxy was reloaded {self.reloads} times only: the rollout was over before")
        return found


async def roll_out(lab: Lab, cell: Cell) -> Outcome:
    """A new release to every box of the lab, which has a daemon and is left as it is."""
    balancers = lab["balancers"][: cell.balancers]
    version = lab.other_version()
    event = await asyncio.to_thread(lab.event, version)
    event["haproxy"] |= {
        "targets": {"hosts": [balancer["name"] for balancer in balancers]},
        "weight": list(cell.weights),
        "degradation_seconds": cell.hold_seconds,
    }
    event["rollout"] = {"concurrency": cell.concurrency, "min_available": "50%", "min_healthy_seconds": 0}
    urls = [balancer["http_url"] for balancer in balancers]
    async with load(urls, **CLIENTS) as seen, _watched(balancers) as watch:
        began = time.monotonic()
        reloading = asyncio.create_task(_reload(lab, cell, balancers, version, seen, watch))
        result = await deployed(lab, event)
        seconds = time.monotonic() - began
        reloading.cancel()
        await asyncio.wait([reloading])
        late = await _until_served(lab, seen, version)
    left = [f"{name} on {balancer['name']}" for balancer in balancers for name in await _not_back(balancer, lab)]
    return Outcome(cell, seen, result, seconds, watch.most, watch.reloads, late, left)


async def deployed(lab: Lab, event: dict[str, Any]) -> dict[str, Any]:
    """``deployment.finished``, as the deploy command prints it."""
    return (await followed(lab, event))[1]


async def followed(lab: Lab, event: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """The exit status of ``vesemir deploy --follow``, and the ``deployment.finished`` that it prints."""
    file = lab.folder / "rollout-event.json"
    file.write_text(json.dumps(event))
    child = await asyncio.create_subprocess_exec(
        COMMAND, "deploy", "--file", str(file), "--follow", "--json",
        env=own_environment(lab["env"]), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(ROLLOUT_SECONDS):
            printed, said = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    try:
        finished: dict[str, Any] = json.loads(printed)
    except ValueError:
        return child.returncode, {"status": "unknown", "failure": said[-500:].decode(errors="replace")}
    return child.returncode, finished


async def _reload(
    lab: Lab, cell: Cell, balancers: Sequence[dict[str, Any]], version: str, seen: Seen, watch: "_Watch"
) -> None:
    """Spread over the rollout, and at any moment of a target's way: drain, steps, checks, hold."""
    boxes = len(lab["boxes"])
    for number in range(1, cell.reloads + 1):
        while len(seen.boxes_with(version)) < boxes * number / (cell.reloads + 1):
            await asyncio.sleep(LOOK_SECONDS)
        for balancer in balancers:
            await asyncio.sleep(random.uniform(0, 2))
            await reload_balancer(Places.of(lab.folder, token=""), lab, balancer["name"])
            watch.reloads += 1


async def _not_back(balancer: dict[str, Any], lab: Lab) -> list[str]:
    rows = (await ask(balancer["haproxy_socket"], f"show servers state {lab['backend']}")).splitlines()
    header = next(row.removeprefix("# ").split() for row in rows if row.startswith("# "))
    states = [dict(zip(header, row.split(), strict=True)) for row in rows if len(row.split()) == len(header)]
    return [row["srv_name"] for row in states if (row["srv_admin_state"], row["srv_uweight"]) != ("0", "100")]


async def _until_served(lab: Lab, seen: Seen, version: str) -> set[str]:
    """The boxes that never answered with it, though they had time to."""
    boxes = set(lab.names)
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while boxes - seen.boxes_with(version):
                await asyncio.sleep(LOOK_SECONDS)
    return boxes - seen.boxes_with(version)


@dataclass
class _Watch:
    most: int = 0
    reloads: int = 0


@asynccontextmanager
async def _watched(balancers: Sequence[dict[str, Any]]) -> AsyncIterator[_Watch]:
    """How many servers are out at once, as HAProxy itself shows it."""
    watch = _Watch()

    async def look() -> None:
        while True:
            out: set[str] = set()
            for balancer in balancers:
                with suppress(OSError, ValueError):  # it is being reloaded
                    out |= set(await out_of_traffic(balancer["haproxy_socket"]))
            watch.most = max(watch.most, len(out))
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.wait([looking])
