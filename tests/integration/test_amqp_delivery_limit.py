"""What docs/install.md sets for RabbitMQ's delivery limit: what reaches it is kept in ``vesemir.rejected``."""

import asyncio
import json
import re
import shlex
import uuid
from pathlib import Path

import aio_pika
from tests.integration.amqp_bench import ask, requester, running, until
from tests.integration.rabbit_server import RabbitServer, rabbit_server

__all__ = ["rabbit_server"]

INSTALL = Path(__file__).parents[2] / "docs" / "install.md"


async def test_what_is_returned_too_often_is_kept_in_the_rejected_queue(rabbit_server: RabbitServer) -> None:
    """The document's own policy, with a lower limit."""
    line = re.search(
        r"^rabbitmqctl (set_policy vesemir-returned .*)$", INSTALL.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert line
    words = shlex.split(line[1])
    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        one.gate.set_closed()
        one.run()
        await until(one.is_up)
        names = one.broker.topology
        rule = json.loads(words[3].replace("vesemir.", f"{names.namespace}."))
        assert rule["delivery-limit"] >= 1000
        words[1:4] = (
            uuid.uuid4().hex,
            words[2].replace("vesemir", names.namespace),
            json.dumps(rule | {"delivery-limit": 1}),
        )
        await asyncio.to_thread(rabbit_server.control, *words)
        await ask(channel, names.deployments, b"returned too often")
        queue = await channel.get_queue(names.deployments)

        async def dropped() -> bool:
            if (message := await queue.get(fail=False)) is not None:
                await message.nack(requeue=True)
            return message is None

        await until(dropped)
        rejected = await channel.get_queue(names.rejected)
        kept: list[aio_pika.abc.AbstractIncomingMessage] = []

        async def there() -> bool:
            if (message := await rejected.get(fail=False)) is not None:
                await message.ack()
                kept.append(message)
            return bool(kept)

        await until(there)
        deaths = kept[0].headers["x-death"]
        assert kept[0].body == b"returned too often"
        assert [death["reason"] for death in deaths] == ["delivery_limit"]  # type: ignore[union-attr,index,call-overload]
