"""What goes wrong with a broker, and that the adapter recovers from it by itself (reliability.md, faults 10-18)."""

import asyncio
import time
from dataclasses import replace

import aio_pika
import pytest
from tests.integration.amqp_bench import RunningBroker, ask, event, requester, running, until
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.integration.tcp_proxy import TcpProxy, proxied

from vesemir.engine.ports.broker import BrokerAwayError, IncomingMessage, PublishOutcome

__all__ = ["rabbit_server"]


async def published(one: RunningBroker, number: int) -> PublishOutcome:
    """Publish again until the broker took it, as the outbox does."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await one.broker.publish(event(number))
            except BrokerAwayError:
                continue


async def test_it_waits_for_a_broker_that_is_away_at_start(rabbit_server: RabbitServer) -> None:
    async with proxied(rabbit_server.port) as proxy:
        await proxy.refuse()
        async with running(rabbit_server.url_at(proxy.port)) as one, requester(rabbit_server) as channel:
            one.run()
            await until(one.is_down)
            assert not one.health.takes_work
            with pytest.raises(BrokerAwayError):
                await one.broker.publish(event(1))
            await proxy.listen()
            await until(one.is_up)
            assert one.health.takes_work
            await ask(channel, one.queue, b"late")
            assert await one.next_body() == b"late"
            assert await one.broker.publish(event(2)) is PublishOutcome.CONFIRMED


async def test_a_refused_login_is_said_in_words(rabbit_server: RabbitServer) -> None:
    async with running(rabbit_server.url.replace("guest:guest", "guest:sesame")) as one:
        one.run()
        await until(one.is_down)
        assert "refused the login" in one.details()
        assert "sesame" not in one.details()


async def test_connections_cut_under_load_lose_nothing(rabbit_server: RabbitServer) -> None:
    async with (
        proxied(rabbit_server.port) as proxy,
        running(rabbit_server.url_at(proxy.port)) as one,
        requester(rabbit_server) as channel,
    ):
        one.run()
        await until(one.is_up)
        bodies = {str(number).encode() for number in range(300)}
        sending = asyncio.create_task(_ask_all(channel, one.queue, bodies))
        publishing = [asyncio.create_task(published(one, number)) for number in range(100)]
        seen: set[bytes] = set()
        for _ in range(3):
            seen.add(await one.next_body())
            reconnected = one.reconnected()
            proxy.cut()
            await until(reconnected)
        await sending
        while not bodies <= seen:
            seen.add(await one.next_body())
        assert await asyncio.gather(*publishing) == [PublishOutcome.CONFIRMED] * 100


async def _ask_all(channel: aio_pika.abc.AbstractChannel, queue: str, bodies: set[bytes]) -> None:
    for body in bodies:
        await ask(channel, queue, body)


async def test_after_a_refusal_another_channel_publishes_and_nothing_in_flight_is_lost(
    rabbit_server: RabbitServer,
) -> None:
    """A channel that learned who leads a queue while that node died refuses for ever (fault 36)."""
    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        one.run()
        await until(one.is_up)
        limits = {"x-max-length": 1, "x-overflow": "reject-publish"}
        full = (await channel.declare_queue(arguments=limits, exclusive=True)).name
        refused = replace(event(1), exchange="", routing_key=full)
        assert await one.broker.publish(refused) is PublishOutcome.CONFIRMED
        before = await publishing_channels(rabbit_server)
        publishing = [asyncio.create_task(one.broker.publish(event(number))) for number in range(2, 200)]
        assert await one.broker.publish(replace(refused, message_id="again")) is PublishOutcome.REFUSED
        assert set(await asyncio.gather(*publishing)) == {PublishOutcome.CONFIRMED}

        async def is_another() -> bool:
            return not await publishing_channels(rabbit_server) <= before

        await until(is_another)
        assert await one.broker.publish(event(200)) is PublishOutcome.CONFIRMED


async def publishing_channels(server: RabbitServer) -> set[str]:
    """The broker's names of the channels with confirms."""
    listed = await asyncio.to_thread(server.control, "list_channels", "pid", "confirm", "--silent")
    return {line.split("\t")[0] for line in listed.splitlines() if line.endswith("true")}


async def test_a_handler_is_not_cancelled_when_its_channel_is_lost(rabbit_server: RabbitServer) -> None:
    begun = asyncio.Event()
    go_on = asyncio.Event()
    ended: asyncio.Queue[IncomingMessage] = asyncio.Queue()

    async def handler(message: IncomingMessage) -> None:
        begun.set()
        await go_on.wait()
        await ended.put(message)

    async with (
        proxied(rabbit_server.port) as proxy,
        running(rabbit_server.url_at(proxy.port)) as one,
        requester(rabbit_server) as channel,
    ):
        one.run(handler)
        await until(one.is_up)
        await ask(channel, one.queue, b"once")
        await begun.wait()
        reconnected = one.reconnected()
        proxy.cut()
        await until(reconnected)
        go_on.set()
        first = await asyncio.wait_for(ended.get(), 10)
        second = await asyncio.wait_for(ended.get(), 10)
        assert (first.redelivered, second.redelivered) == (False, True)


@pytest.mark.parametrize("way", ["both", "to_server", "to_client"])
async def test_a_black_hole_is_noticed_and_left(rabbit_server: RabbitServer, way: str) -> None:
    """With a heartbeat of 2 s within 8 s; with the default of 10 s within 40 s (a probe and its limit, twice over)."""
    async with (
        proxied(rabbit_server.port) as proxy,
        running(rabbit_server.url_at(proxy.port)) as one,
        requester(rabbit_server) as channel,
    ):
        one.run()
        await until(one.is_up)
        begun = time.monotonic()
        _swallow(proxy, way)
        with pytest.raises(BrokerAwayError):
            await one.broker.publish(event(1))
        await until(one.is_down)
        noticed = time.monotonic() - begun
        await proxy.refuse()
        proxy.heal()
        await proxy.listen()
        await until(one.is_up)
        await ask(channel, one.queue, b"after")
        assert await one.next_body() == b"after"
        assert await published(one, 2) is PublishOutcome.CONFIRMED
        assert noticed < 8


def _swallow(proxy: TcpProxy, way: str) -> None:
    if way in {"both", "to_server"}:
        proxy.to_server.clear()
    if way in {"both", "to_client"}:
        proxy.to_client.clear()


async def test_a_deleted_queue_is_made_again_and_consumed(rabbit_server: RabbitServer) -> None:
    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        one.run()
        await until(one.is_up)
        await ask(channel, one.queue, b"before")
        assert await one.next_body() == b"before"
        await (await channel.get_queue(one.queue)).delete(if_empty=False, if_unused=False)

        async def consumed() -> bool:
            async with requester(rabbit_server) as other:
                try:
                    queue = await other.declare_queue(one.queue, passive=True)
                except aio_pika.exceptions.ChannelNotFoundEntity:
                    return False
                return queue.declaration_result.consumer_count == 1

        await until(consumed)
        await ask(channel, one.queue, b"after")
        assert await one.next_body() == b"after"


async def test_a_deleted_exchange_is_made_again(rabbit_server: RabbitServer) -> None:
    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        one.run()
        await until(one.is_up)
        topology = one.broker.topology
        await (await channel.get_exchange(topology.events)).delete()
        with pytest.raises(BrokerAwayError):
            await one.broker.publish(event(1, exchange=topology.events, key="a.b.c"))

        async def works() -> bool:
            try:
                outcome = await one.broker.publish(event(2, exchange=topology.events, key="a.b.c"))
            except BrokerAwayError:
                return False
            return outcome is PublishOutcome.CONFIRMED

        await until(works)


async def test_a_queue_made_with_other_arguments_is_used_as_it_is(rabbit_server: RabbitServer) -> None:
    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        arguments = {"x-queue-type": "quorum", "x-delivery-limit": 7}
        await channel.declare_queue(one.queue, durable=True, arguments=arguments)
        one.run()
        await until(one.is_up)
        await ask(channel, one.queue, b"operator's")
        assert await one.next_body() == b"operator's"


async def test_a_message_that_always_fails_does_not_spin(rabbit_server: RabbitServer) -> None:
    tries: asyncio.Queue[float] = asyncio.Queue()

    async def handler(_: IncomingMessage) -> None:
        await tries.put(time.monotonic())
        raise RuntimeError("a bug")

    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        one.run(handler)
        await until(one.is_up)
        await ask(channel, one.queue, b"poison")
        times = [await asyncio.wait_for(tries.get(), 10) for _ in range(4)]
        # Pauses of at least half of 0.25, 0.5 and 1 s.
        assert times[3] - times[0] >= 0.875


async def test_the_broker_restarted(rabbit_server: RabbitServer) -> None:
    async with running(rabbit_server.url) as one:
        one.run()
        await until(one.is_up)
        await asyncio.to_thread(rabbit_server.stop)
        await until(one.is_down)
        await asyncio.to_thread(rabbit_server.start)
        await until(one.is_up, seconds=30)
        assert await published(one, 1) is PublishOutcome.CONFIRMED
        async with requester(rabbit_server) as channel:
            await ask(channel, one.queue, b"after the restart")
            assert await one.next_body() == b"after the restart"


async def test_an_alarm_stops_publishing_but_not_acknowledging(rabbit_server: RabbitServer) -> None:
    async with running(rabbit_server.url) as one, requester(rabbit_server) as channel:
        one.run()
        await until(one.is_up)
        one.gate.set_closed()
        for number in range(5):
            await ask(channel, one.queue, str(number).encode())
        await asyncio.to_thread(rabbit_server.control, "set_vm_memory_high_watermark", "0.00001")
        try:
            with pytest.raises(BrokerAwayError):
                await one.broker.publish(event(1))
            one.gate.set_open()
            assert {await one.next_body() for _ in range(5)} == {b"0", b"1", b"2", b"3", b"4"}

            async def said() -> bool:
                return "alarm" in one.details()

            await until(said)
        finally:
            await asyncio.to_thread(rabbit_server.control, "set_vm_memory_high_watermark", "absolute", "1GB")
        assert await published(one, 1) is PublishOutcome.CONFIRMED
        await until(one.is_up)
