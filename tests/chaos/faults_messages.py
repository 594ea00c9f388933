"""Faults 18 to 20: messages that cannot be read, that contradict each other, that come again and again."""

import asyncio
import copy
import json
import time

from tests.chaos.arena import Arena
from tests.chaos.verdict import Try

REJECTED_SECONDS = 60.0
LARGE_BYTES = 50_000_000


def _poison(arena: Arena) -> list[bytes]:
    good = dict(arena.event().event)
    return [
        b"\x00\xff not JSON",
        b'{"schema": "vesemir.deploy/1", "deployment_id": "\xc3\x28"}',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        json.dumps({**good, "deployment_id": None}).encode(),
        json.dumps({**good, "on_failure": "stop"}).encode(),
        json.dumps({**good, "schema": "vesemir.deploy/2"}).encode(),
        b'"' + b"x" * LARGE_BYTES + b'"',
        b"",
    ]


async def poison(arena: Arena, blow: Try) -> None:
    """Each is rejected once, copied once, and the next event works."""
    await arena.crew(2)
    bodies = _poison(arena)
    beside = await arena.deploy(seconds=1.0)
    for body in bodies:
        await arena.requester.publish(body)
    moment = time.time()
    copies: list[bytes] = []
    async with asyncio.timeout(REJECTED_SECONDS):
        while len(copies) < len(bodies):
            copies += [message.body for message in await arena.requester.take_all(f"{arena.name}.rejected")]
            await asyncio.sleep(0.1)
    blow.recoveries.append(time.time() - moment)
    after = await arena.deploy(seconds=0.2)
    blow.look_at(beside, after)
    await arena.result(after)
    copies += [message.body for message in await arena.requester.take_all(f"{arena.name}.rejected")]
    blow.expect(sorted(copies) == sorted(bodies), f"{len(copies)} copies of {len(bodies)} bad messages")
    blow.expect(all(instance.running for instance in arena.instances), "an instance ended")
    blow.tries = 1


async def conflict(arena: Arena, blow: Try) -> None:
    """The same id with another body is refused; the first runs on."""
    await arena.crew(2)
    first = await arena.deploy(seconds=1.5)
    blow.look_at(first)
    await arena.requester.event(first.id, "deployment.accepted", seconds=60)
    other = copy.deepcopy(dict(first.event)) | {"version": "9.9.9"}
    await arena.requester.publish(json.dumps(other).encode())
    refused = await arena.requester.event(first.id, "deployment.rejected", seconds=60)
    blow.expect(refused.body["failure"]["code"] == "request.conflict", f"refused with {refused.body['failure']}")
    await arena.result(first)
    seen = arena.requester.seen[first.id]
    seen[:] = [each for each in seen if each.body["event"] != "deployment.rejected"]
    blow.expect(seen[-1].body["version"] == "1.0.0", "the other version was deployed")
    blow.tries = 1


async def ten_times(arena: Arena, blow: Try) -> None:
    """The same event ten times to several instances, some of them at once, some after its end."""
    await arena.crew(3)
    asked = arena.event(seconds=0.6)
    blow.look_at(asked)
    await asyncio.gather(*(arena.requester.deploy(asked.event) for _ in range(8)))
    await arena.result(asked)
    await asyncio.gather(*(arena.requester.deploy(asked.event) for _ in range(2)))
    # Once for the destination, and again for the repeats after the end.
    await arena.requester.event(asked.id, "deployment.finished", seconds=60, number=2)
    rows = await arena.record.fetchval("SELECT count(*) FROM deployment WHERE deployment_id = $1", asked.id)
    runs = arena.runs(asked)
    blow.expect(rows == 1, f"{rows} rows")
    blow.expect(len(runs) == len(asked.boxes), f"{len(runs)} runs on {len(asked.boxes)} boxes")
    blow.tries = 1
