"""Faults 10 to 17: the broker restarts, hangs, is full, forgets; a confirm or a reply queue is lost."""

import asyncio
import json
import random
import time
from typing import Any

from tests.chaos.arena import Arena
from tests.chaos.faults_dying import staggered
from tests.chaos.proxy import ConfirmDropper
from tests.chaos.verdict import Try

NOTICED_SECONDS = 40.0


async def _broker_away(arena: Arena, blow: Try, seconds: float) -> None:
    await arena.crew(2)
    asked = await staggered(arena, number=5, seconds=1.0)
    blow.look_at(*asked)
    await asyncio.sleep(random.uniform(0, 1.5))
    await arena.lab.stop("rabbitmq")
    gone = time.monotonic()
    await asyncio.gather(*(instance.health(503, 30) for instance in arena.instances))
    await asyncio.sleep(max(0.0, seconds - (time.monotonic() - gone)))
    await arena.lab.start("rabbitmq")
    back = time.time()
    await asyncio.gather(*(instance.health(200, 90) for instance in arena.instances))
    blow.recoveries.append(time.time() - back)
    after = await arena.deploy(seconds=0.2)
    blow.look_at(after)
    blow.tries = len(asked)
    for each in asked:
        await arena.result(each)
        taken = arena.requester.events(each.id, "deployment.taken_over")
        blow.expect(not taken, f"{each.id} was taken over because the broker was away")


async def broker_restarts(arena: Arena, blow: Try) -> None:
    await _broker_away(arena, blow, 5)


async def broker_away_long(arena: Arena, blow: Try) -> None:
    await _broker_away(arena, blow, 120)


async def away_at_start(arena: Arena, blow: Try) -> None:
    """Broker or database cannot be reached when an instance starts: it waits and says 503."""
    await arena.crew(2)
    broker = random.random() < 0.5
    server, name = (arena.lab.amqp_url, "AMQP__URL") if broker else (arena.dsn, "POSTGRES__DSN")
    proxy, url = await arena.proxy(server)
    await proxy.refuse()
    late = await arena.begin(**{f"VESEMIR_{name}": url})
    answer = await late.health(503)
    asked = await staggered(arena, number=2)
    blow.look_at(*asked)
    for each in asked:
        await arena.result(each)
    blow.expect(late.running, "the instance ended because a server was away at its start")
    blow.expect(json.dumps(answer).count("down") or json.dumps(answer).count("start"), f"/health says {answer}")
    await proxy.listen()
    back = time.time()
    await late.health(200, 60)
    blow.recoveries.append(time.time() - back)
    blow.tries = 1


async def broker_blackhole(arena: Arena, blow: Try) -> None:
    """Behind a black hole for one instance; the others go on, it notices, and comes back."""
    await arena.crew(2)
    proxy, url = await arena.proxy(arena.lab.amqp_url)
    struck = await arena.start(VESEMIR_AMQP__URL=url)
    asked = await staggered(arena, number=4, seconds=1.0)
    blow.look_at(*asked)
    direction = random.choice(("both", "up", "down"))
    if direction != "down":
        proxy.upwards.clear()
    if direction != "up":
        proxy.downwards.clear()
    await struck.health(503, NOTICED_SECONDS)
    proxy.heal()
    healed = time.time()
    await struck.health(200, 60)
    blow.recoveries.append(time.time() - healed)
    blow.tries = 1


async def confirm_lost(arena: Arena, blow: Try) -> None:
    await arena.crew(1)
    proxy, url = await arena.proxy(arena.lab.amqp_url)
    dropper = ConfirmDropper(0)
    proxy.look_down = dropper.look
    struck = await arena.start(VESEMIR_AMQP__URL=url, VESEMIR_AMQP__PUBLISH_TIMEOUT_SECONDS="3")
    dropper.left = random.randint(1, 5)
    asked = await staggered(arena, number=2, boxes=2, seconds=0.3)
    blow.look_at(*asked)
    for each in asked:
        await arena.result(each)
    async with asyncio.timeout(60):
        while dropper.dropped == 0:
            more = await arena.deploy(seconds=0.2)
            blow.look_at(more)
            await arena.result(more)
    moment = time.time()
    await _outbox_empty(arena, seconds=60)
    blow.recoveries.append(time.time() - moment)
    blow.expect(struck.running, "the instance ended")
    blow.tries = 1


async def _outbox_empty(arena: Arena, *, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while await arena.record.fetchval(
            "SELECT count(*) FROM destination d JOIN deployment USING (deployment_id) "
            "WHERE d.parked_at IS NULL AND d.cursor < next_sequence - 1"
        ):
            await asyncio.sleep(0.1)


async def memory_alarm(arena: Arena, blow: Try) -> None:
    """Publishers stand still, acknowledgements flow: what runs ends, and its events come after the alarm."""
    await arena.crew(2)
    asked = await staggered(arena, number=4, seconds=0.8)
    blow.look_at(*asked)
    for each in asked:
        await arena.requester.event(each.id, "deployment.accepted", seconds=60)
    await arena.lab.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        async with asyncio.timeout(60):
            while await arena.record.fetchval("SELECT count(*) FROM deployment WHERE finished_at IS NULL"):
                await asyncio.sleep(0.1)
    except TimeoutError:
        blow.expect(False, "deployments did not end while the broker had an alarm")  # noqa: FBT003
    finally:
        await arena.lab.control("set_vm_memory_high_watermark", "absolute", "1GB")
    over = time.time()
    for each in asked:
        await arena.result(each)
    await _outbox_empty(arena, seconds=60)
    blow.recoveries.append(time.time() - over)
    blow.tries = len(asked)


async def queue_deleted(arena: Arena, blow: Try) -> None:
    """The broker cancels the consumers because somebody deleted the queue; it comes back and is consumed."""
    await arena.crew(2)
    asked = await staggered(arena, number=3)
    blow.look_at(*asked)
    for each in asked:
        await arena.requester.event(each.id, "deployment.accepted", seconds=60)
    await arena.requester.delete(f"{arena.name}.deployments")
    moment = time.time()
    after = await arena.deploy(seconds=0.2)  # published again and again until there is a queue that takes it
    blow.look_at(after)
    await arena.requester.event(after.id, "deployment.accepted", seconds=60)
    blow.recoveries.append(time.time() - moment)
    blow.tries = 1


async def _reply_queue(arena: Arena, **arguments: Any) -> str:
    name = f"requester.{random.randrange(10**12)}"
    await arena.requester.declare(name, **arguments)
    return name


async def _parked(arena: Arena, queue: str) -> bool:
    return bool(await arena.record.fetchval("SELECT parked_at IS NOT NULL FROM destination WHERE reply_to = $1", queue))


async def reply_queue_gone(arena: Arena, blow: Try) -> None:
    """Returned, tried again, parked and visible; a repeat of the request gets the result all the same."""
    await arena.crew(0)
    one = await arena.start(VESEMIR_AMQP__REPLY_DEADLINE_SECONDS="2")
    await arena.start(VESEMIR_AMQP__REPLY_DEADLINE_SECONDS="2")
    queue = await _reply_queue(arena)
    asked = arena.event(boxes=2, seconds=0.3)
    body = json.dumps(asked.event).encode()
    await arena.requester.publish(body, reply_to=queue)
    await arena.requester.delete(queue)
    async with asyncio.timeout(90):
        while not await _parked(arena, queue):
            await asyncio.sleep(0.1)
    async with asyncio.timeout(30):
        while await one.measure("vesemir_outbox_parked_destinations") < 1:
            await asyncio.sleep(0.2)
    await arena.requester.declare(queue)
    moment = time.time()
    await arena.requester.publish(body, reply_to=queue)
    await _events_in(arena, queue, wanted="deployment.finished")
    blow.recoveries.append(time.time() - moment)
    await _same_for_all(arena, blow, asked.event)
    blow.look_at(asked)
    blow.tries = 1


async def _same_for_all(arena: Arena, blow: Try, event: Any) -> None:
    """Another destination gets everything from 1, which the verdict then looks at."""
    await arena.requester.deploy(event)
    await arena.requester.event(event["deployment_id"], "deployment.finished", seconds=60)
    blow.expect(arena.requester.events(event["deployment_id"])[0].body["sequence"] == 1, "not from 1")


async def _events_in(arena: Arena, queue: str, *, wanted: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(90):
        while not any(each["event"] == wanted for each in found):
            found += [json.loads(message.body) for message in await arena.requester.take_all(queue)]
            await asyncio.sleep(0.1)
    return found


async def reply_queue_full(arena: Arena, blow: Try) -> None:
    """A queue that takes one message and refuses more: everything comes in the end, one after the other."""
    await arena.crew(2)
    queue = await _reply_queue(arena, **{"x-max-length": 1, "x-overflow": "reject-publish"})
    asked = arena.event(boxes=1, seconds=0.2)
    await arena.requester.publish(json.dumps(asked.event).encode(), reply_to=queue)
    async with asyncio.timeout(60):
        while not await arena.record.fetchval(
            "SELECT failing_since IS NOT NULL FROM destination WHERE reply_to = $1", queue
        ):
            await asyncio.sleep(0.1)
    moment = time.time()
    found = await _events_in(arena, queue, wanted="deployment.finished")
    numbers = [each["sequence"] for each in found]
    blow.recoveries.append(time.time() - moment)
    blow.expect(sorted(set(numbers)) == list(range(1, max(numbers) + 1)), f"sequences {numbers}")
    await _same_for_all(arena, blow, asked.event)
    blow.look_at(asked)
    blow.tries = 1
