"""``AmqpBroker``: the engine's broker on RabbitMQ, with one connection for publishing and one for consuming.

Two, because an alarm of the broker stops connections that publish, and acknowledgements would stop with them.
"""

import asyncio
from functools import partial

from vesemir.adapters.amqp.consumer import Consumer, Fresh
from vesemir.adapters.amqp.link import Link
from vesemir.adapters.amqp.publisher import Publisher
from vesemir.adapters.amqp.topology import QueueTopology
from vesemir.adapters.secret_file import SecretFile
from vesemir.engine.ports.broker import Handler, OutgoingMessage, PublishOutcome
from vesemir.engine.ports.observe import Log
from vesemir.engine.upkeep.health import Gate, HealthRegistry
from vesemir.settings import AmqpSettings

PUBLISH_PART = "broker.publish"
CONSUME_PART = "broker.consume"


class AmqpBroker:
    """``run`` and each ``consume`` are long-lived tasks of the service; neither ends because the broker is away.

    Stopping has two stages: ``stop_consuming``, then, when nothing is to be published any more, ``close``.
    """

    def __init__(
        self,
        settings: AmqpSettings,
        *,
        health: HealthRegistry,
        instance: str,
        log: Log,
        url: SecretFile | None = None,
    ) -> None:
        """``url`` is the setting's file, read again when it changes."""
        health.expect(PUBLISH_PART)
        health.expect(CONSUME_PART)
        self.topology = QueueTopology(settings.namespace)
        self._settings = settings
        self._log = log
        publishing = partial(health.report, PUBLISH_PART)
        self._publish_link = Link(settings, name=f"{instance} publish", report=publishing, log=log, url=url)
        consuming = partial(health.report, CONSUME_PART)
        self._consume_link = Link(settings, name=f"{instance} consume", report=consuming, log=log, url=url)
        self._publisher = Publisher(settings, self._publish_link, report=publishing, log=log)
        self._consumers: list[Consumer] = []
        self._stopping_seconds: float | None = None

    async def run(self) -> None:
        """Keep both connections until ``close``."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish_link.run(), name="amqp publish link")
            tasks.create_task(self._consume_link.run(), name="amqp consume link")
            tasks.create_task(self._publisher.run(), name="amqp publisher")

    async def publish(self, message: OutgoingMessage) -> PublishOutcome:
        """Persistent, confirmed, within ``publish_timeout_seconds``. Raises ``BrokerAwayError``."""
        return await self._publisher.publish(message)

    async def consume(
        self,
        queue_suffix: str,
        handler: Handler,
        *,
        gate: Gate,
        prefetch: int | None = None,
        fresh: Fresh | None = None,
    ) -> None:
        """Consume ``NAMESPACE.queue_suffix`` while the gate is open, until ``stop_consuming``.

        At most ``prefetch`` (default: the setting) handlers run at once. A handler that raises gets the message again,
        after a pause. ``fresh`` is waited for on every new connection, before anything is taken.
        """
        consumer = Consumer(
            self._settings,
            self._consume_link,
            queue=f"{self.topology.namespace}.{queue_suffix}",
            handler=handler,
            gate=gate,
            prefetch=prefetch or self._settings.prefetch,
            log=self._log,
            fresh=fresh,
        )
        if self._stopping_seconds is not None:
            return
        self._consumers.append(consumer)
        await consumer.run()

    async def stop_consuming(self, *, seconds: float) -> None:
        """Take no more messages; return when the handlers in flight have ended, which they have ``seconds`` for."""
        self._stopping_seconds = seconds
        for consumer in self._consumers:
            consumer.stop(seconds=seconds)
        for consumer in self._consumers:
            await consumer.ended.wait()

    def close(self) -> None:
        """Let ``run`` close both connections and return."""
        self._publisher.stop()
        self._publish_link.stop()
        self._consume_link.stop()
