"""Over HTTP: what the targets of a running deployment do right now, for who asks for it."""

import json

import pytest
from tests.contract.store_suite import eventually
from tests.integration.http_site import Site, row, site
from tests.integration.test_http_api import STREAM, next_message

from vesemir.domain.doing import Doing
from vesemir.domain.states import DeploymentState

PATH = "/api/v1/deployments/d1"
EVENTS = f"{PATH}/events?progress=true"
FIRST = Doing("web1", "check-version", "target", "2026-11-27T12:00:00.000000Z", 3, "answered 500: nöt yet")
SECOND = Doing("web1", "check-version", "target", "2026-11-27T12:00:00.000000Z", 4, "answered 500: nöt yet")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesemir.adapters.http.deployments.POLL_SECONDS", 0.02)


async def looked(one: Site) -> None:
    """The stream has looked twice since, with all that this leads to."""
    looks = one.reader.looks

    async def twice_more() -> bool | None:
        return one.reader.looks >= looks + 3 or None

    await eventually(twice_more)


async def test_a_deployment_has_what_its_targets_do() -> None:
    async with site(row(1)) as one:
        assert (await one.get(PATH))[1]["doing"] is None
        one.reader.set_doing("d1", (FIRST,))
        assert (await one.get(PATH))[1]["doing"] == [
            {
                "target": "web1",
                "step": "check-version",
                "phase": "target",
                "since": "2026-11-27T12:00:00.000000Z",
                "attempts": 3,
                "last_error": "answered 500: nöt yet",
            }
        ]
        one.reader.set_doing("d1", ())
        assert (await one.get(PATH))[1]["doing"] == []


async def test_a_stream_tells_each_change_once_and_without_an_id() -> None:
    async with site(row(1)) as one:
        one.reader.write("d1", "deployment.started")
        async with one.session.get(EVENTS, headers=STREAM) as answer:
            assert (await next_message(answer))["event"] == "deployment.started"
            changes: list[tuple[Doing, ...] | None] = [(FIRST,), (FIRST, SECOND), (SECOND,), (), (FIRST,), None]
            for doing in changes:
                one.reader.set_doing("d1", doing)
                message = await next_message(answer)
                assert message.keys() == {"event", "data"}
                told = json.loads(message["data"])
                assert message["event"] == "progress"
                assert told == (None if doing is None else [each.as_json() for each in doing])
            one.reader.write("d1", "deployment.finished")
            assert (await next_message(answer))["id"] == "2"
            assert await answer.content.read() == b""


async def test_who_falls_silent_with_nothing_to_tell_is_no_news() -> None:
    async with site(row(1)) as one, one.session.get(EVENTS, headers=STREAM) as answer:
        one.reader.set_doing("d1", ())
        assert (await next_message(answer))["data"] == "[]"
        one.reader.set_doing("d1", None)
        await looked(one)
        one.reader.write("d1", "deployment.finished")
        assert (await next_message(answer))["event"] == "deployment.finished"


@pytest.mark.parametrize("query", ["", "?progress=false"])
async def test_who_does_not_ask_for_it_gets_nothing_new(query: str) -> None:
    async with site(row(1)) as one:
        one.reader.set_doing("d1", (FIRST,))
        one.reader.write("d1", "deployment.started")
        async with one.session.get(f"{PATH}/events{query}", headers=STREAM) as answer:
            assert (await next_message(answer))["event"] == "deployment.started"
            await looked(one)
            one.reader.set_doing("d1", (SECOND,))
            await looked(one)
            one.reader.write("d1", "deployment.finished")
            assert (await next_message(answer))["event"] == "deployment.finished"


async def test_it_ends_with_the_deployment_and_a_typo_is_refused() -> None:
    async with site(row(1, state=DeploymentState.SUCCEEDED)) as one:
        async with one.session.get(EVENTS, headers=STREAM) as answer:
            assert answer.status == 204
        status, body = await one.get(f"{PATH}/events?progress=yes")
        assert (status, body["error"]["message"]) == (400, "progress is true or false")
