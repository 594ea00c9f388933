"""Who got which verdict: copies in the rejected queue by their body, events by what they are about."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

VERDICTS = ("deployment.accepted", "deployment.rejected", "control.accepted", "control.rejected")
LISTENED = 2000
"""Messages that may be on their way to this program."""


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


class Verdicts:
    """``events`` by name, ``accepted`` by deployment, ``copies`` by the digest of the body. Made by ``heard``."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.copies: Counter[bytes] = Counter()
        self._news = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def heard(cls, url: str, namespace: str) -> AsyncIterator["Verdicts"]:
        connection = await aio_pika.connect(url)
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=LISTENED)
            one = cls()
            queue = await channel.declare_queue(exclusive=True)
            exchange = await channel.get_exchange(f"{namespace}.events")
            await queue.bind(exchange, "#")
            await queue.consume(one._hear, no_ack=True)
            rejected = await channel.get_queue(f"{namespace}.rejected", ensure=False)
            await rejected.purge()
            await rejected.consume(one._copied)
            yield one

    def count(self) -> int:
        """Verdicts in all."""
        return sum(self.events[name] for name in VERDICTS)

    async def wait_for(self, count: int, *, seconds: float) -> None:
        """Until there are so many verdicts, and a copy for each refusal that has one."""
        async with asyncio.timeout(seconds):
            while self.count() < count:
                self._news.clear()
                await self._news.wait()

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        body = json.loads(message.body)
        self.events[body["event"]] += 1
        if body["event"] == "deployment.accepted":
            self.accepted[body["deployment_id"]] += 1
        self._news.set()

    async def _copied(self, message: AbstractIncomingMessage) -> None:
        self.copies[digest(message.body)] += 1
        await message.ack()
        self._news.set()
