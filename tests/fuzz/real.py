"""``python -m tests.fuzz.real [--messages 50000] [--poison 400]``: fuzzed messages, a real broker and a real database.

A private RabbitMQ, a private PostgreSQL and one daemon, all on loopback. ``--messages``: deploy and control messages
with random properties, each of which must have exactly one verdict. ``--poison``: so many messages with a NUL in
correlation_id, then a good one; seconds until it is answered, beside the same with good ones in their place.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aio_pika
from tests.chaos.instance import Instance
from tests.chaos.servers import Lab, lab_up
from tests.fuzz.raw_publisher import RawPublisher
from tests.fuzz.real_messages import RealMessage, generated, numbered, properties
from tests.fuzz.verdicts import Verdicts

NAMESPACE = "vesemir"
ROUND = 2000
"""Messages that are made and published at once."""
ROUND_SECONDS = 300.0
ANSWER_SECONDS = 120.0
LATER_SECONDS = 1.0
"""What 400 poison messages may delay a good one by (issue 13)."""


@dataclass(frozen=True, slots=True)
class Site:
    lab: Lab
    daemon: Instance


@asynccontextmanager
async def _site(folder: Path) -> AsyncIterator[Site]:
    async with lab_up(folder / "lab", boxes=1) as lab:
        environment = {
            **lab.described["env"], **lab.bytecode,
            "VESEMIR_AMQP__NAMESPACE": NAMESPACE, "VESEMIR_POSTGRES__DSN": await lab.new_database(),
        }  # fmt: skip
        daemon = Instance("fuzzed", environment, folder / "daemon.log")
        await daemon.start()
        try:
            await daemon.health(200)
            yield Site(lab, daemon)
        finally:
            await daemon.stop()


# -- many messages, one verdict each


async def _many(site: Site, count: int, *, number: int) -> bool:
    sent: list[RealMessage] = []
    before = site.daemon.memory_kib("VmRSS")
    began = time.monotonic()
    async with (
        Verdicts.heard(site.lab.amqp_url, NAMESPACE) as verdicts,
        RawPublisher.connected(site.lab.amqp_url) as publisher,
    ):
        while len(sent) < count:
            share, first = min(ROUND, count - len(sent)), len(sent)
            batch = await asyncio.to_thread(generated, share, number=number + first, first=first)
            for queue in ("deployments", "control"):
                messages = [(each.header, each.body) for each in batch if each.queue == queue]
                await publisher.publish(f"{NAMESPACE}.{queue}", messages)
            sent += [each.forgotten() for each in batch]
            repeated = await _settled(site, verdicts, len(sent))
            print(f"  {len(sent)} messages: {dict(verdicts.events)}, {repeated} repeated", flush=True)
    seconds = time.monotonic() - began
    wrong = _wrong(sent, verdicts, repeated)
    print(
        f"{len(sent)} messages in {seconds:.0f} s: {verdicts.count()} verdicts "
        f"({', '.join(f'{verdicts.events[name]} {name}' for name in sorted(verdicts.events))}), {repeated} repeated, "
        f"{verdicts.copies.total()} copies; {wrong or 'each has exactly one'}"
    )
    print(
        f"memory of the daemon: {before / 1024:.0f} MiB before, "
        f"{site.daemon.memory_kib('VmRSS') / 1024:.0f} MiB at the end, "
        f"at most {site.daemon.memory_kib() / 1024:.0f} MiB"
    )
    return not wrong


async def _settled(site: Site, verdicts: Verdicts, count: int) -> int:
    """Until every message has its verdict; how many were repeats of an earlier one, which have no event."""
    async with asyncio.timeout(ROUND_SECONDS):
        while True:
            repeated = int(await _measure(site.daemon, 'vesemir_events_received_total{outcome="repeated"}'))
            if verdicts.count() + repeated >= count:
                return repeated
            await asyncio.sleep(0.2)


async def _measure(daemon: Instance, sample: str) -> float:
    _, text = await daemon.get("/metrics")
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(sample))


def _wrong(sent: list[RealMessage], verdicts: Verdicts, repeated: int) -> dict[str, int]:
    """What does not fit, by what it is; empty when each message has exactly one verdict, and each refusal its copy."""
    bodies = Counter(each.digest for each in sent)
    deploys = sum(each.queue == "deployments" for each in sent)
    of_deploys = verdicts.events["deployment.accepted"] + verdicts.events["deployment.rejected"] + repeated
    of_controls = verdicts.events["control.accepted"] + verdicts.events["control.rejected"]
    found = {
        "deploy verdicts too few or many": abs(deploys - of_deploys),
        "control verdicts too few or many": abs(len(sent) - deploys - of_controls),
        "copies of nothing that was sent": sum(n for body, n in verdicts.copies.items() if body not in bodies),
        "second copies": sum(n - bodies[body] for body, n in verdicts.copies.items() if n > bodies[body] > 0),
        "second acceptances": sum(n - 1 for n in verdicts.accepted.values()),
        "refused deploys without a copy": max(0, verdicts.events["deployment.rejected"] - verdicts.copies.total()),
    }
    return {what: count for what, count in found.items() if count}


# -- poison


async def _poison(site: Site, count: int) -> bool:
    good = await _answered_after(site, count, correlation_id="fine")
    poisoned = await _answered_after(site, count, correlation_id="\x00")
    later = poisoned - good
    print(f"after {count} good messages, a good one is answered in {good:.2f} s")
    print(f"after {count} with a NUL in correlation_id, it is answered in {poisoned:.2f} s ({later:+.2f} s)")
    return later < LATER_SECONDS


async def _answered_after(site: Site, count: int, *, correlation_id: str) -> float:
    """Seconds from the good message to its first answer, behind ``count`` others."""
    connection = await aio_pika.connect(site.lab.amqp_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        answered = asyncio.Event()

        async def hear(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            if message.correlation_id == "good":
                assert json.loads(message.body)["event"] == "deployment.accepted", message.body
                answered.set()

        await queue.consume(hear, no_ack=True)
        batch = [_dry(queue.name, correlation_id) for _ in range(count)]
        async with RawPublisher.connected(site.lab.amqp_url) as publisher:
            await publisher.publish(f"{NAMESPACE}.deployments", batch)
            began = time.monotonic()
            await publisher.publish(f"{NAMESPACE}.deployments", [_dry(queue.name, "good")])
        async with asyncio.timeout(ANSWER_SECONDS):
            await answered.wait()
        return time.monotonic() - began


def _dry(reply_to: str, correlation_id: str) -> tuple[bytes, bytes]:
    """As in the case that this comes from: dry runs of one lane."""
    body = {**numbered(0), "deployment_id": uuid.uuid4().hex, "application": "poison", "dry_run": True}
    return properties(reply_to=reply_to, correlation_id=correlation_id), json.dumps(body).encode()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.real", description=__doc__)
    parser.add_argument("--messages", type=int, default=0, help="how many fuzzed messages (50000 for the promise)")
    parser.add_argument("--poison", type=int, default=0, help="how many poison messages (400 for the promise)")
    parser.add_argument("--number", type=int, default=1, help="where the random numbers begin (1)")
    return parser.parse_args()


async def main() -> bool:
    arguments = _arguments()
    if not arguments.messages and not arguments.poison:
        raise SystemExit("say --messages N, --poison N, or both")
    held = True
    with tempfile.TemporaryDirectory(prefix="vesemir-fuzz-") as folder:
        async with _site(Path(folder)) as site:
            if arguments.poison:
                held &= await _poison(site, arguments.poison)
            if arguments.messages:
                held &= await _many(site, arguments.messages, number=arguments.number)
    return held


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
