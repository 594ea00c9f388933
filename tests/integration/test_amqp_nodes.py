"""A cluster's nodes are tried in turn: proxies stand for nodes that are silent, refuse, and answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from pydantic import SecretStr
from tests.integration.amqp_bench import RunningBroker, ask, event, requester, running, until
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.integration.tcp_proxy import TcpProxy, proxied

from vesemir.adapters.amqp.nodes import answering
from vesemir.cli.consumers import broker_lines
from vesemir.engine.ports.broker import BrokerAwayError, PublishOutcome
from vesemir.settings import AmqpSettings, Settings

__all__ = ["rabbit_server"]


@dataclass(frozen=True, slots=True)
class ThreeNodes:
    """One server behind three proxies."""

    proxies: tuple[TcpProxy, ...]
    urls: tuple[str, ...]


@pytest.fixture
async def nodes(rabbit_server: RabbitServer) -> AsyncIterator[ThreeNodes]:
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(proxied(rabbit_server.port)) for _ in range(3)]
        yield ThreeNodes(tuple(proxies), tuple(rabbit_server.url_at(proxy.port) for proxy in proxies))


def at(one: RunningBroker) -> list[str]:
    """Where it is connected, publisher first."""
    links = (one.broker._publish_link, one.broker._consume_link)
    return [link.live.value.node if link.live.value else "" for link in links]


async def test_a_silent_node_has_its_share_of_the_time_and_a_refusing_one_none(
    nodes: ThreeNodes, rabbit_server: RabbitServer
) -> None:
    silent, refusing, last = nodes.proxies
    silent.blackhole()
    await refusing.refuse()
    async with running(nodes.urls[0], urls=nodes.urls) as one, requester(rabbit_server) as channel:
        began = asyncio.get_running_loop().time()
        one.run()
        await until(one.is_up)
        assert asyncio.get_running_loop().time() - began < 2.5  # a third of 3 s for the silent one
        assert all(f":{last.port}" in node for node in at(one))
        await ask(channel, one.queue, b"here")
        assert await one.next_body() == b"here"


async def test_it_goes_on_at_another_node_when_its_own_is_gone(nodes: ThreeNodes, rabbit_server: RabbitServer) -> None:
    async with running(nodes.urls[0], urls=nodes.urls) as one, requester(rabbit_server) as channel:
        one.run()
        await until(one.is_up)
        await nodes.proxies[0].refuse()

        async def elsewhere() -> bool:
            return all(node and f":{nodes.proxies[0].port}" not in node for node in at(one))

        await until(elsewhere)
        await ask(channel, one.queue, b"after")
        assert await one.next_body() == b"after"
        assert await one.broker.publish(event(1)) is PublishOutcome.CONFIRMED


async def test_a_node_that_confirms_nothing_is_left(nodes: ThreeNodes) -> None:
    """One that is cut off from the queue's majority keeps its connections and confirms nothing."""
    async with running(nodes.urls[0], urls=nodes.urls, publish_timeout_seconds=0.5, heartbeat_seconds=30) as one:
        one.run()
        await until(one.is_up)
        nodes.proxies[0].to_client.clear()
        with pytest.raises(BrokerAwayError):
            await one.broker.publish(event(1))

        async def confirmed() -> bool:
            try:
                return await one.broker.publish(event(2)) is PublishOutcome.CONFIRMED
            except BrokerAwayError:
                return False

        await until(confirmed)
        assert f":{nodes.proxies[0].port}" not in at(one)[0]


async def test_all_of_them_away_says_so_of_each(nodes: ThreeNodes) -> None:
    for proxy in nodes.proxies:
        await proxy.refuse()
    async with running(nodes.urls[0], urls=nodes.urls) as one:
        one.run()
        await until(one.is_down)
        assert all(f":{proxy.port}" in one.details() for proxy in nodes.proxies)
        assert "guest:guest" not in one.details()


async def test_the_check_names_who_answers_and_warns_of_who_does_not(nodes: ThreeNodes) -> None:
    await nodes.proxies[1].refuse()
    amqp = AmqpSettings(urls=tuple(SecretStr(url) for url in nodes.urls))
    answer, silent = await answering(amqp, name="test")
    assert [f":{proxy.port}" in line for proxy, line in zip(nodes.proxies[::2], answer, strict=True)] == [True, True]
    (reason,) = silent
    assert f":{nodes.proxies[1].port}" in reason
    assert "guest:guest" not in " ".join((*answer, reason))
    lines = await asyncio.to_thread(lambda: list(broker_lines(Settings(amqp=amqp), before_start=True)))
    assert any(line.startswith("2 of 3 nodes answer: ") for line in lines)
    assert reason in lines
