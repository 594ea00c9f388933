"""Continuous deployments: one every few seconds on the application's machines, each looked for afterwards on each.

What is asked of the machines is a line in a file of theirs, so the daemon's own word is not needed to count. Lanes take
turns, so that deployments do not wait for one another; now and then one is a release through HAProxy.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from tests.chaos.requester import Requester
from tests.integration_env.site import Machine, Site

EVERY_SECONDS = 2.0
_LANES = 8
_RELEASE_EVERY = 6
_END_SECONDS = 240.0
_PATIENCE_SECONDS = 20.0
_ORACLE = "/var/tmp/ran"
_SCRIPT = f'echo "$1" >>{_ORACLE}; sleep'


@dataclass
class Load:
    """What was asked for, and what became of it."""

    site: Site
    requester: Requester
    seconds: float
    """How long each script takes."""
    asked: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    """By status."""
    by_instance: Counter[str] = field(default_factory=Counter)
    """Which instance told the end."""
    taken_over: int = 0
    redone: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        shares = ", ".join(f"{name} {count}" for name, count in sorted(self.by_instance.items()))
        trouble = f"; TROUBLE: {'; '.join(self.troubles[:5])}" if self.troubles else ""
        return (
            f"{len(self.asked)} deployments, {self.ended['succeeded']} succeeded once ({shares}), "
            f"{self.taken_over} taken over, {self.redone} steps redone{trouble}"
        )

    async def one(self, number: int) -> None:
        """Publish one more."""
        if number % _RELEASE_EVERY == 0:
            event = self.site.event("2.1.0" if number // _RELEASE_EVERY % 2 else "2.0.0", chef=True)
        else:
            event = self.site.event("1", recipe="lab-script", given=[f"script={_SCRIPT} {self.seconds}"])
            event["application"] = f"load{number % _LANES}"
            event["parameters"]["argument"] = event["deployment_id"]
            event["rollout"]["concurrency"] = 3
            self.scripts.append(event["deployment_id"])
        self.asked.append(event["deployment_id"])
        await self.requester.publish(json.dumps(event).encode())

    async def judge(self) -> None:
        """Wait until all have ended, then count."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                while any(not self._ends(name) for name in self.asked):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.troubles.append(f"not ended: {', '.join(name for name in self.asked if not self._ends(name))}")
        for name in self.asked:
            self._judge_one(name)
        for box in self.site.boxes:
            self._judge_machine(box)

    def done(self) -> int:
        """How many have ended."""
        return sum(1 for name in self.asked if self._ends(name))

    def began(self, instance: str, *, within: float = 1.0) -> bool:
        """Whether this instance began with one in the last second: killed now, it leaves it in the middle."""
        now = time.time()
        return any(
            str(each.body["instance"]).partition("/")[0] == instance and now - each.at < within
            for name in self.scripts
            for each in self.requester.events(name, "target.started")
        )

    def _ends(self, name: str) -> dict[str, dict[str, object]]:
        """Each different ``deployment.finished``, by its message id."""
        seen = self.requester.seen.get(name, [])
        return {each.message_id: dict(each.body) for each in seen if each.body["event"] == "deployment.finished"}

    def _judge_one(self, name: str) -> None:
        ends = self._ends(name)
        if len(ends) > 1:
            self.troubles.append(f"{name} ended {len(ends)} times")
        for body in ends.values():
            self.ended[str(body["status"])] += 1
            self.by_instance[str(body["instance"]).partition("/")[0]] += 1
            metrics = body["metrics"]
            assert isinstance(metrics, dict)
            self.taken_over += metrics["takeovers"]
            self.redone += metrics["redone_steps"]
            if body["status"] != "succeeded":
                self.troubles.append(f"{name} {body['status']}: {json.dumps(body['failure'])}")

    def _judge_machine(self, box: Machine) -> None:
        file = box.root / _ORACLE.removeprefix("/")
        ran = Counter(file.read_text().split() if file.exists() else [])
        never = [name for name in self.scripts if not ran[name]]
        again = sum(ran[name] - 1 for name in self.scripts if ran[name] > 1)
        if never:
            self.troubles.append(f"never ran on {box.name}: {', '.join(never)}")
        if again > self.redone:
            self.troubles.append(f"{again} scripts ran again on {box.name}, and {self.redone} were told")


@asynccontextmanager
async def load(site: Site, requester: Requester, *, seconds: float = 0.5) -> AsyncIterator[Load]:
    """One deployment every few seconds as long as the block lasts; judged when it ends."""
    found = Load(site, requester, seconds)

    async def ask() -> None:
        number = 0
        while True:
            began = time.monotonic()
            await found.one(number)
            number += 1
            await asyncio.sleep(max(0.0, EVERY_SECONDS - (time.monotonic() - began)))

    asking = asyncio.create_task(ask(), name="load")
    try:
        yield found
    finally:
        asking.cancel()
        await asyncio.wait([asking])
        if not asking.cancelled() and (error := asking.exception()):
            found.troubles.append(f"the load stopped: {error!r}")
    await found.judge()


@dataclass
class Watch:
    """Somebody who keeps asking for a page."""

    asked: int = 0
    failed: int = 0
    longest: float = 0.0
    """Seconds without a good answer."""
    versions: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    """What there was instead of a good answer."""

    @property
    def summary(self) -> str:
        if self.failed:
            return f"/health asked {self.asked} times, {self.failed} without an instance: {dict(self.said)}"
        versions = ", ".join(f"{version} {count}" for version, count in sorted(self.versions.items()))
        return f"/health asked {self.asked} times, always an instance ({versions})"


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watch]:
    """Ask for ``url`` twenty times a second as long as the block lasts."""
    watch = Watch()
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")

    async def ask() -> None:
        good = time.monotonic()
        while True:
            watch.asked += 1
            try:
                status, body = await _page(host, int(port))
            except (OSError, TimeoutError, ValueError, IndexError) as error:
                status, body = 0, {"error": repr(error)}
            if status == HTTPStatus.OK:
                watch.versions[str(body.get("version"))] += 1
                good = time.monotonic()
            else:
                watch.failed += 1
                watch.said[f"{status} {json.dumps(body)[:200]}"] += 1
            watch.longest = max(watch.longest, time.monotonic() - good)
            await asyncio.sleep(0.05)

    asking = asyncio.create_task(ask(), name="watch")
    try:
        yield watch
    finally:
        asking.cancel()
        await asyncio.wait([asking])


async def _page(host: str, port: int) -> tuple[int, dict[str, object]]:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(b"GET /health HTTP/1.1\r\nHost: vesemir\r\nConnection: close\r\n\r\n")
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
    status = int(head.split(b" ", 2)[1])
    return status, json.loads(body) if body.startswith(b"{") else {"body": body.decode(errors="replace")}
