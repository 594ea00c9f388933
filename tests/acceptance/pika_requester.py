"""A requester that knows only the contract: pika, JSON, and the names of section 2."""

import json
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from tests.acceptance.installed_lab import Event
from tests.acceptance.patience import PATIENCE_SECONDS

DEPLOYMENTS = "vesemir.deployments"
CONTROL = "vesemir.control"
REJECTED = "vesemir.rejected"
EVENTS = "vesemir.events"
LISTEN_SECONDS = 0.2


@dataclass(frozen=True)
class Received:
    """One message as it came."""

    body: Event
    properties: pika.BasicProperties
    exchange: str
    routing_key: str

    @property
    def event(self) -> str:
        return str(self.body["event"])


class Requester:
    """Publishes, and keeps whatever comes back. ``queue`` is its ``reply_to``; ``watched`` came by the exchange."""

    def __init__(self, url: str, *, user_id: str | None = None) -> None:
        """``user_id``: what its messages say who sent them; RabbitMQ refuses another than who has logged in."""
        parameters = pika.URLParameters(url)
        parameters.heartbeat = 0  # nobody pumps between two waits
        self._connection = pika.BlockingConnection(parameters)
        self._channel: BlockingChannel = self._connection.channel()
        self._channel.confirm_delivery()
        self._user_id = user_id
        self.replies: list[Received] = []
        self.watched: list[Received] = []
        self.queue = self.another_queue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(AMQPError):  # a test may have stopped the broker
            self._connection.close()

    def another_queue(self) -> str:
        """A private reply queue; what comes there is among ``replies``, too."""
        name = f"acceptance-{secrets.token_hex(6)}"
        self._channel.queue_declare(name, exclusive=True, auto_delete=True)
        self._channel.basic_consume(name, self._keep(self.replies), auto_ack=True)
        return name

    def watch(self, pattern: str = "#") -> None:
        """Hear the topic exchange from now on."""
        queue = f"acceptance-{secrets.token_hex(6)}"
        self._channel.queue_declare(queue, exclusive=True, auto_delete=True)
        self._channel.queue_bind(queue, EVENTS, pattern)
        self._channel.basic_consume(queue, self._keep(self.watched), auto_ack=True)

    @staticmethod
    def _keep(where: list[Received]) -> Callable[..., None]:
        def keep(_: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            where.append(Received(json.loads(body), properties, method.exchange, method.routing_key))

        return keep

    # --- out --------------------------------------------------------------------------------------------------------

    def publish_many(self, messages: Iterable[Event], *, queue: str = DEPLOYMENTS) -> None:
        """Without waiting for a confirm of each: the channel's close says that the broker has read them all."""
        properties = pika.BasicProperties(delivery_mode=2, reply_to=self.queue, user_id=self._user_id)
        channel = self._connection.channel()
        for message in messages:
            channel.basic_publish("", queue, json.dumps(message).encode(), properties)
        channel.close()

    def publish(
        self, message: Event | bytes, *, queue: str = DEPLOYMENTS, correlation_id: str = "", reply_to: str | None = ""
    ) -> str:
        """Confirmed. Returns its correlation id; ``reply_to`` is this requester's queue if nothing else is said."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        correlation_id = correlation_id or secrets.token_hex(8)
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            correlation_id=correlation_id,
            reply_to=self.queue if reply_to == "" else reply_to,
            user_id=self._user_id,
        )
        self._channel.basic_publish("", queue, body, properties, mandatory=True)
        return correlation_id

    def control(self, command: str, deployment_id: str) -> Received:
        """Send a control message and wait for its answer."""
        return self._controlled(command, deployment_id=deployment_id)

    def control_lane(self, command: str, application: str, environment: str, **more: Any) -> Received:
        """The same about a lane."""
        return self._controlled(command, application=application, environment=environment, **more)

    def _controlled(self, command: str, **about: Any) -> Received:
        message = {"schema": "vesemir.control/1", "command": command, "requested_by": "ann", "reason": "acceptance"}
        correlation_id = self.publish({**message, **about}, queue=CONTROL)
        return self.answer(correlation_id)

    def answer(self, correlation_id: str) -> Received:
        """The first reply with that correlation id."""
        return self.wait(
            lambda: next((each for each in self.replies if each.properties.correlation_id == correlation_id), None),
            f"an answer to {correlation_id}",
        )

    # --- in ---------------------------------------------------------------------------------------------------------

    def wait(self, look: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """Receive until ``look`` is true, and return what it saw."""
        deadline = time.monotonic() + seconds
        while not (seen := look()):
            told = [f"{each.body.get('deployment_id')} {each.event}" for each in self.replies[-20:]]
            assert time.monotonic() < deadline, f"within {seconds:g} s there was not {what}; last came: {told}"
            self._connection.process_data_events(LISTEN_SECONDS)  # type: ignore[arg-type]  # a float, by its source
        return seen

    def events(self, deployment_id: str, event: str = "", **members: Any) -> list[Received]:
        """What came for a deployment on the reply queues, in the order in which it came."""
        wanted = {"deployment_id": deployment_id, **members} | ({"event": event} if event else {})
        return [each for each in self.replies if wanted.items() <= each.body.items()]

    def event(self, deployment_id: str, event: str, *, seconds: float = PATIENCE_SECONDS, **members: Any) -> Event:
        """Wait for one."""
        what = f"{event} of {deployment_id} with {members}"
        found: Received = self.wait(
            lambda: next(iter(self.events(deployment_id, event, **members)), None), what, seconds
        )
        return found.body

    def finished(self, deployment_id: str, *, seconds: float = 90) -> Event:
        """Wait for the result."""

        def look() -> Event | None:
            refused = self.events(deployment_id, "deployment.rejected")
            assert not refused, refused[0].body["failure"]
            return next((each.body for each in self.events(deployment_id, "deployment.finished")), None)

        result: Event = self.wait(look, f"deployment.finished of {deployment_id}", seconds)
        return result

    def deploy(self, event: Event, *, seconds: float = 90) -> Event:
        """Publish and wait for the result."""
        self.publish(event)
        return self.finished(event["deployment_id"], seconds=seconds)

    # --- the broker -------------------------------------------------------------------------------------------------

    def waiting_in(self, queue: str) -> int:
        """Messages that nobody has taken yet."""
        declared = self._channel.queue_declare(queue, passive=True)
        return int(declared.method.message_count)

    def take_rejected(self, seconds: float = 20) -> tuple[bytes, pika.BasicProperties]:
        """One copy of a refused message."""

        def look() -> tuple[bytes, pika.BasicProperties] | None:
            method, properties, body = self._channel.basic_get(REJECTED, auto_ack=True)
            return None if method is None or properties is None or body is None else (body, properties)

        taken: tuple[bytes, pika.BasicProperties] = self.wait(look, "a message in vesemir.rejected", seconds)
        return taken

    def purge_rejected(self) -> None:
        self._channel.queue_purge(REJECTED)


def in_order(received: list[Received]) -> list[Event]:
    """Drop what is there already by (deployment_id, sequence), as the contract asks of consumers."""
    known: dict[int, Event] = {}
    for each in received:
        known.setdefault(each.body["sequence"], each.body)
    return list(known.values())
