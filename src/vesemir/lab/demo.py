"""``lab demo``: the whole of it once, told in plain words.

Act one brings a new release to five boxes behind HAProxy, two at a time, while somebody keeps asking for the page. Act
two tries a release that does not start: the first box fails and stays out of traffic, the others are left as they are.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from vesemir.lab.artifacts import BROKEN_VERSION, NEXT_VERSION
from vesemir.lab.event import DEFAULT_RECIPE, deploy_event
from vesemir.lab.haproxy import out_of_traffic
from vesemir.lab.network import LabPorts
from vesemir.lab.places import LabError, Places
from vesemir.lab.readiness import exchange, until
from vesemir.lab.roster import Roster, RosterProgram, exit_status, tail

BOXES = 5
INSTANCES = ("demo-a", "demo-b")

_VESEMIR = (sys.executable, "-c", "from vesemir.cli import main; main()")
_READY_SECONDS = 60.0
_DEPLOY_SECONDS = 300.0
_STOP_SECONDS = 30.0
_ROUNDS = 4
"""How many requests per box show where HAProxy sends its traffic; it takes turns."""

Say = Callable[[str], None]


@dataclass
class DemoTraffic:
    """What somebody saw who kept asking HAProxy for the page."""

    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By box and version."""
    failed: int = 0


class Demo:
    """Plays both acts in a lab that is up. ``say`` tells the audience a line."""

    def __init__(self, places: Places, lab: Mapping[str, Any], roster: Roster, *, say: Say) -> None:
        self._places = places
        self._lab = lab
        self._roster = roster
        self._say = say

    async def play(self) -> None:
        """Raises ``LabError`` that says what did not hold."""
        async with self._daemons():
            await self._new_release()
            await self._broken_release()

    async def _new_release(self) -> None:
        self._say(f"\nAct one: release {NEXT_VERSION} to {BOXES} boxes, two at a time.")
        async with self._asking() as traffic:
            result, seconds = await self._deploy(NEXT_VERSION, concurrency=2)
        _expect(result["status"] == "succeeded", f"the deployment of {NEXT_VERSION} ended as {result['status']}")
        served = await self._served()
        names = {box["name"] for box in self._lab["boxes"]}
        right = served.keys() == {(name, NEXT_VERSION) for name in names}
        _expect(right, f"HAProxy should serve {NEXT_VERSION} from every box, and serves {_reported(served)}")
        asked = traffic.failed + sum(traffic.answered.values())
        self._say(f"Release {NEXT_VERSION} is on all {BOXES} boxes after {seconds:.1f} s.")
        self._say(f"Meanwhile the page was asked for {asked} times; {traffic.failed} times there was no answer.")
        self._say(f"HAProxy sends its traffic to {_reported(served)}.")

    async def _broken_release(self) -> None:
        self._say(f"\nAct two: release {BROKEN_VERSION}, whose application does not start, one box at a time.")
        result, seconds = await self._deploy(BROKEN_VERSION, concurrency=1)
        _expect(result["status"] == "failed", f"the deployment of {BROKEN_VERSION} ended as {result['status']}")
        out = await out_of_traffic(self._lab["haproxy_socket"])
        _expect(len(out) == 1, f"one box should be out of traffic, and these are: {', '.join(out) or 'none'}")
        served = await self._served()
        names = {box["name"] for box in self._lab["boxes"]}
        right = served.keys() == {(name, NEXT_VERSION) for name in names - set(out)}
        _expect(right, f"the other boxes should serve {NEXT_VERSION}, and HAProxy serves {_reported(served)}")
        failure = result.get("failure") or {}
        self._say(f"The deployment failed after {seconds:.1f} s, as it should: {failure.get('message', '')}")
        self._say(f"{out[0]} is kept out of traffic. HAProxy sends it to {_reported(served)}.")

    async def _deploy(self, version: str, *, concurrency: int) -> tuple[dict[str, Any], float]:
        """Deploy and follow on standard error; returns what ``deployment.finished`` said, and the seconds it took."""
        event = deploy_event(self._places, self._lab, version=version, recipe=DEFAULT_RECIPE, given=[])
        event["rollout"]["concurrency"] = concurrency
        file = self._places.folder / "demo-event.json"
        file.write_text(json.dumps(event))
        began = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            *_VESEMIR, "deploy", "--file", str(file), "--follow", "--json",
            env=self._environment(), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_DEPLOY_SECONDS):
                printed, _ = await child.communicate()
        except TimeoutError:
            raise LabError(f"the deployment of {version} did not end within {_DEPLOY_SECONDS:.0f} s") from None
        finally:
            if child.returncode is None:
                child.kill()
            file.unlink(missing_ok=True)
        return _result(printed, version), time.monotonic() - began

    async def _served(self) -> Counter[tuple[str, str]]:
        seen: Counter[tuple[str, str]] = Counter()
        for _ in range(_ROUNDS * len(self._lab["boxes"])):
            seen[await page(self._lab["http_url"])] += 1
        return seen

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[DemoTraffic]:
        """Somebody asks for the page all the time, as long as the block lasts."""
        traffic = DemoTraffic()

        async def ask() -> None:
            while True:
                try:
                    traffic.answered[await page(self._lab["http_url"])] += 1
                except (OSError, ValueError, asyncio.IncompleteReadError):
                    traffic.failed += 1
                await asyncio.sleep(0.02)

        asking = asyncio.create_task(ask(), name="somebody asking for the page")
        try:
            yield traffic
        finally:
            asking.cancel()
            await asyncio.wait([asking])

    @asynccontextmanager
    async def _daemons(self) -> AsyncIterator[None]:
        """Two instances of the daemon, recorded like the lab's own servers."""
        ports, host = LabPorts(), "127.0.0.1"
        chosen = {name: ports.free([host]) for name in INSTANCES}
        programs = [self._daemon(name, host=host, port=port) for name, port in chosen.items()]
        children = self._roster.start(programs)
        try:
            for program, child, port in zip(programs, children, chosen.values(), strict=True):
                what = f"`vesemir run` ({program.name})"
                await until(_healthy(host, port), what=what, child=child, log=program.log, timeout=_READY_SECONDS)
            self._say(f"{len(programs)} instances of the daemon take work: {', '.join(INSTANCES)}.")
            yield
        finally:
            for child in children:
                child.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await asyncio.gather(*(exit_status(child) for child in children))
            except TimeoutError:
                raise LabError(f"the daemons did not stop within {_STOP_SECONDS:.0f} s of SIGTERM") from None

    def _daemon(self, name: str, *, host: str, port: int) -> RosterProgram:
        environment = self._environment() | {
            "VESEMIR_INSTANCE": name,
            "VESEMIR_HTTP__HOST": host,
            "VESEMIR_HTTP__PORT": str(port),
        }
        log = self._places.log / f"{name}.log"
        return RosterProgram(name, (*_VESEMIR, "run"), log=log, environment=environment, cwd=self._places.folder)

    def _environment(self) -> dict[str, str]:
        """The caller's, without settings of another installation, and the lab's."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("VESEMIR_")}
        own |= self._lab["env"]
        return own

    def troubles(self) -> str:
        """The ends of the daemons' logs, for when something did not hold."""
        return "\n".join(f"{name}:\n{tail(self._places.log / f'{name}.log', lines=5)}" for name in INSTANCES)


async def page(url: str) -> tuple[str, str]:
    """Box and version that answer. Raises ``OSError`` or ``ValueError`` when none does."""
    address, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"HAProxy answered {head[:60]!r}")
    wording = json.loads(body)
    return wording["box"], wording["version"]


def _healthy(host: str, port: int) -> Callable[[], Any]:
    async def asked() -> bool:
        answer = await exchange(host, port, say=b"GET /health HTTP/1.0\r\n\r\n", hear=12)
        return answer.endswith(b" 200")

    return asked


def _result(printed: bytes, version: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(printed)
        result["status"]
    except (ValueError, KeyError, TypeError):
        wording = printed[-500:].decode(errors="replace") or "nothing"
        raise LabError(f"`vesemir deploy` did not say how the deployment of {version} ended, but: {wording}") from None
    return result


def _reported(served: Counter[tuple[str, str]]) -> str:
    """``web1, web2 (release 2.0.0)``."""
    versions: dict[str, list[str]] = {}
    for box, version in sorted(served):
        versions.setdefault(version, []).append(box)
    return "; ".join(f"{', '.join(boxes)} (release {version})" for version, boxes in versions.items()) or "nobody"


def _expect(held: bool, otherwise: str) -> None:  # noqa: FBT001 -- a condition, as in assert
    if not held:
        raise LabError(otherwise)
