"""The exchanges by which messages come in, on a real broker: made, bound, done without, and who may write to them."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import AMQPChannelError, ChannelAccessRefused
from pydantic import SecretStr
from tests.integration.amqp_bench import until
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.rabbit_users import users_expression
from tests.unit.engine.world import Lines

from vesemir.adapters.amqp import AmqpBroker, QueueTopology
from vesemir.adapters.amqp.requester import Requester, input_problems
from vesemir.cli.check_lines import CheckWarning
from vesemir.cli.consumers import broker_lines
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.broker import IncomingMessage, OutgoingMessage, PublishOutcome
from vesemir.engine.upkeep.health import Gate, HealthRegistry
from vesemir.settings import AmqpSettings, Settings

__all__ = ["rabbit_server"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "install.md"
USERS = ("vesemir_daemon", "shop_deployer", "shop_operator", "shop_listener")
SECONDS = 20.0


def url_of(server: RabbitServer, user: str) -> str:
    return server.url.replace("guest:guest", f"{user}:change-me")


def settings_of(server: RabbitServer, *, user: str | None = None, namespace: str | None = None) -> AmqpSettings:
    url = server.url if user is None else url_of(server, user)
    return AmqpSettings(url=SecretStr(url), namespace=namespace or f"inputs-{secrets.token_hex(4)}")


@dataclass
class Instance:
    """What an instance has of the broker, and what came to it by its two queues."""

    broker: AmqpBroker
    log: Lines
    came: dict[str, "asyncio.Queue[IncomingMessage]"] = field(default_factory=dict)

    async def next(self, suffix: str) -> IncomingMessage:
        async with asyncio.timeout(SECONDS):
            return await self.came[suffix].get()


@asynccontextmanager
async def instance(settings: AmqpSettings) -> AsyncIterator[Instance]:
    """Returns when it consumes from both queues."""
    log = Lines()
    one = Instance(AmqpBroker(settings, health=HealthRegistry(), instance="a/1", log=log), log)
    gate = Gate()
    gate.set_open()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.broker.run())
        for suffix in ("deployments", "control"):
            one.came[suffix] = asyncio.Queue()
            tasks.create_task(one.broker.consume(suffix, one.came[suffix].put, gate=gate))
        try:

            async def consumes() -> bool:
                return sum("Consuming" in line for line in log.of("info")) >= len(one.came)

            await until(consumes)
            yield one
        finally:
            await one.broker.stop_consuming(seconds=5)
            one.broker.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AbstractConnection]:
    connection = await aio_pika.connect(url)
    async with connection:
        yield connection


async def send(channel: AbstractChannel, exchange: str, key: str, **properties: str) -> None:
    place = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
    await place.publish(aio_pika.Message(b"{}", **properties), routing_key=key, mandatory=True)  # type: ignore[arg-type]


async def test_messages_come_by_the_exchanges_and_by_the_queues(rabbit_server: RabbitServer) -> None:
    settings = settings_of(rabbit_server)
    async with instance(settings) as one, connected(rabbit_server.url) as connection:
        channel = await connection.channel()
        for suffix in ("deployments", "control"):
            name = f"{settings.namespace}.{suffix}"
            for exchange, key in ((name, ""), (name, "anything"), ("", name)):
                await send(channel, exchange, key, correlation_id=f"{exchange}/{key}")
                assert (await one.next(suffix)).correlation_id == f"{exchange}/{key}"
        assert await input_problems(settings, name="test") == {}
        async with Requester.connected(settings, name="test") as requester:
            await requester.control(b"{}", correlation_id="c")
            assert (await one.next("control")).reply_to == requester.reply_to
        assert one.log.of("warning") == []


async def test_a_queue_that_was_deleted_is_bound_again(rabbit_server: RabbitServer) -> None:
    settings = settings_of(rabbit_server)
    name = f"{settings.namespace}.deployments"
    async with instance(settings) as one, connected(rabbit_server.url) as connection:
        channel = await connection.channel(on_return_raises=True)
        await (await channel.get_queue(name)).delete(if_empty=False, if_unused=False)

        async def routed() -> bool:
            try:
                await send(channel, name, "")
            except DeliveryError:  # it goes nowhere yet
                return False
            return True

        await until(routed)
        await one.next("deployments")


async def test_an_exchange_of_another_type_is_left_alone(rabbit_server: RabbitServer) -> None:
    settings = settings_of(rabbit_server)
    name = f"{settings.namespace}.deployments"
    async with connected(rabbit_server.url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
        async with instance(settings) as one:
            assert any(f"by the queue {name} alone" in line for line in one.log.of("warning"))
            (problem,) = (await input_problems(settings, name="test")).items()
            assert problem[0] == name
            assert "inequivalent arg 'type'" in problem[1]
            async with Requester.connected(settings, name="test") as requester:
                await requester.deploy(b"{}", correlation_id="c-2")
            assert (await one.next("deployments")).correlation_id == "c-2"


def change_users(server: RabbitServer, *commands: str) -> None:
    server.control("eval", users_expression(*commands))


@pytest.fixture
def user(rabbit_server: RabbitServer) -> Iterator[str]:
    """Who may make nothing and use everything."""
    name = f"user-{secrets.token_hex(4)}"
    change_users(rabbit_server, f"add_user {name} change-me", f"set_permissions {name} ^amq.gen- .* .*")
    yield name
    change_users(rabbit_server, f"delete_user {name}")


async def test_who_may_not_make_them_works_without(rabbit_server: RabbitServer, user: str) -> None:
    """The queues and the events' exchange are an operator's; later the exchanges are as well, bound by him."""
    settings = settings_of(rabbit_server, user=user)
    topology = QueueTopology(settings.namespace)
    async with connected(rabbit_server.url) as connection:
        channel = await connection.channel()
        for queue in topology.queues:
            await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.declare_exchange(topology.events, aio_pika.ExchangeType.TOPIC, durable=True)
        async with instance(settings) as one:
            for name in topology.inputs:
                assert any(f"by the queue {name} alone" in line for line in one.log.of("warning"))
            found = await input_problems(settings, name="test")
            assert list(found) == list(topology.inputs)
            assert all(why.startswith("there is no exchange of its name") for why in found.values())
            told = await asyncio.to_thread(lambda: list(broker_lines(Settings(amqp=settings), before_start=True)))
            warnings = [line for line in told if isinstance(line, CheckWarning)]
            assert [line.partition(":")[0] for line in warnings] == list(topology.inputs)
            assert all("the right to write to the default exchange" in line for line in warnings)
            async with Requester.connected(settings, name="test") as requester:
                await requester.deploy(b"{}", correlation_id="c-3")
            assert (await one.next("deployments")).correlation_id == "c-3"
            for name in topology.inputs:
                await channel.declare_exchange(name, aio_pika.ExchangeType.FANOUT, durable=True)
                await (await channel.get_queue(name)).bind(name)
            assert await input_problems(settings, name="test") == {}, "it may use what somebody else has made"


@dataclass(frozen=True)
class Access:
    """What one of the document's users may do: each try on a channel of its own, for a refusal closes it."""

    connection: AbstractConnection

    async def refused(self, **tries: "Callable[[AbstractChannel], object]") -> None:
        for what, attempt in tries.items():
            channel = await self.connection.channel()
            with pytest.raises(AMQPChannelError) as caught:
                await attempt(channel)  # type: ignore[misc]
            assert isinstance(caught.value, ChannelAccessRefused), f"{what}: {caught.value}"

    async def answers(self, name: str, **arguments: str) -> "asyncio.Queue[AbstractIncomingMessage]":
        """A queue of its own, and what comes to it."""
        channel = await self.connection.channel()
        queue = await channel.declare_queue(name, exclusive=True, arguments=arguments or None)
        came: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        await queue.consume(came.put, no_ack=True)
        return came


@pytest.fixture(scope="module")
def users(rabbit_server: RabbitServer) -> Iterator[None]:
    """Those of docs/install.md, by its own commands."""
    made = re.compile(r"^rabbitmqctl ((?:add_user|set_permissions|set_topic_permissions) .*)$", re.MULTILINE)
    commands = made.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert [command.split()[1] for command in commands if command.startswith("add_user")] == list(USERS)
    change_users(rabbit_server, *commands)
    yield
    change_users(rabbit_server, *(f"delete_user {name}" for name in USERS))


@pytest.fixture
async def documented(rabbit_server: RabbitServer, users: None) -> AsyncIterator[RabbitServer]:
    """With these users, and nothing left of the document's namespace, which is that of no other test."""
    del users
    yield rabbit_server
    async with connected(rabbit_server.url) as connection:
        channel = await connection.channel()
        topology = QueueTopology("vesemir")
        for name in topology.queues:
            await channel.queue_delete(name)
        for name in (*topology.inputs, topology.events):
            await channel.exchange_delete(name)


def never(own: str, *, may: str | None) -> Mapping[str, Callable[[AbstractChannel], object]]:
    """What none of the three may, but for writing to the exchange ``may``."""
    dead_letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "vesemir.control"}
    alternate = {"alternate-exchange": "amq.fanout"}

    async def consume(channel: AbstractChannel, name: str) -> None:
        queue: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        await (await channel.get_queue(name, ensure=False)).consume(queue.put)

    async def bind(channel: AbstractChannel, queue: str, exchange: str, key: str) -> None:
        await (await channel.get_queue(queue, ensure=False)).bind(exchange, key)

    exchanges = [name for name in ("vesemir.deployments", "vesemir.control", "vesemir.events") if name != may]
    return {
        **{f"write to {name}": lambda channel, name=name: send(channel, name, "a.b.c") for name in exchanges},
        "write to the queue of deployments": lambda channel: send(channel, "", "vesemir.deployments"),
        "write to the queue of control": lambda channel: send(channel, "", "vesemir.control"),
        "forge an answer": lambda channel: send(channel, "", "another.answers"),
        "read deployments": lambda channel: consume(channel, "vesemir.deployments"),
        "read control": lambda channel: consume(channel, "vesemir.control"),
        "read what was rejected": lambda channel: consume(channel, "vesemir.rejected"),
        "delete a queue": lambda channel: channel.queue_delete("vesemir.control"),
        "delete an exchange": lambda channel: channel.exchange_delete("vesemir.events"),
        "make a queue of Vesemir's": lambda channel: channel.declare_queue("vesemir.more"),
        "make a queue of another": lambda channel: channel.declare_queue("another.answers"),
        "let dead letters control": lambda channel: channel.declare_queue(f"{own}.dead", arguments=dead_letters),
        "let an exchange overflow": lambda channel: channel.declare_exchange(f"{own}.more", arguments=alternate),
        "read every event": lambda channel: bind(channel, f"{own}.answers", "vesemir.events", "#"),
        "read the events of others": lambda channel: bind(channel, f"{own}.answers", "vesemir.events", "pay.#"),
        "take deployments along": lambda channel: bind(channel, f"{own}.answers", "vesemir.deployments", ""),
    }


async def test_each_user_of_the_document_may_do_its_part_and_nothing_else(documented: RabbitServer) -> None:
    server = documented
    daemon = settings_of(server, user="vesemir_daemon", namespace="vesemir")
    async with (
        instance(daemon) as one,
        connected(url_of(server, "shop_deployer")) as deployer,
        connected(url_of(server, "shop_operator")) as operator,
        connected(url_of(server, "shop_listener")) as listener,
    ):
        assert await input_problems(daemon, name="test") == {}
        for user, connection, suffix in (
            ("shop_deployer", deployer, "deployments"),
            ("shop_operator", operator, "control"),
        ):
            access, exchange = Access(connection), f"vesemir.{suffix}"
            answers = await access.answers(f"{user}.answers")
            await send(await connection.channel(), exchange, "", reply_to=f"{user}.answers", user_id=user)
            came = await one.next(suffix)
            assert (came.user_id, came.reply_to) == (user, f"{user}.answers")
            assert await one.broker.publish(told("", f"{user}.answers")) is PublishOutcome.CONFIRMED
            answer = await asyncio.wait_for(answers.get(), SECONDS)
            assert (answer.type, answer.user_id) == ("deployment.finished", "vesemir_daemon")
            await access.refused(**never(user, may=exchange))

        access = Access(listener)
        events = await access.answers("shop_listener.answers")
        channel = await listener.channel()
        await (await channel.get_queue("shop_listener.answers")).bind("vesemir.events", "shop.production.#")
        for key in ("pay.production.deployment.finished", "shop.production.deployment.finished"):
            assert await one.broker.publish(told("vesemir.events", key)) is PublishOutcome.CONFIRMED
        event = await asyncio.wait_for(events.get(), SECONDS)
        assert (event.routing_key, event.user_id) == ("shop.production.deployment.finished", "vesemir_daemon")
        await access.refused(**never("shop_listener", may=None))
        assert all(queue.empty() for queue in (*one.came.values(), events)), "what was refused went nowhere"


async def test_the_command_line_works_with_the_right_of_its_user(documented: RabbitServer) -> None:
    async with instance(settings_of(documented, user="vesemir_daemon", namespace="vesemir")) as one:
        deployer = settings_of(documented, user="shop_deployer", namespace="vesemir")
        operator = settings_of(documented, user="shop_operator", namespace="vesemir")
        async with (
            Requester.connected(deployer, name="test") as deploys,
            Requester.connected(operator, name="test") as controls,
        ):
            await deploys.deploy(b"{}", correlation_id="c-1")
            with pytest.raises(VesemirError, match=r"let the user shop_deployer write to .* vesemir\.control"):
                await deploys.control(b"{}", correlation_id="c-2")
            await controls.control(b"{}", correlation_id="c-3")
            with pytest.raises(VesemirError, match=r"let the user shop_operator write to .* vesemir\.deployments"):
                await controls.deploy(b"{}", correlation_id="c-4")
            for suffix, requester in (("deployments", deploys), ("control", controls)):
                came = await one.next(suffix)
                assert came.reply_to == requester.reply_to
                await one.broker.publish(told("", requester.reply_to))
                async with asyncio.timeout(SECONDS):
                    assert (await anext(requester.replies())).body == {}


def told(exchange: str, key: str) -> OutgoingMessage:
    return OutgoingMessage(exchange, key, b"{}", secrets.token_hex(8), "deployment.finished", mandatory=not exchange)
