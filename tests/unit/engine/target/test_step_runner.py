"""One rendered step on one host, whatever its kind."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.hosts import FakeHosts, failed

from vesemir.domain.action import (
    Action,
    CheckAction,
    FetchAction,
    HttpProbe,
    PutAction,
    RenderedStep,
    RunAction,
    TcpProbe,
)
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.step import Command, Direction, StepKey, StepResult, StepStatus
from vesemir.domain.target import Target
from vesemir.engine.ports.hosts import Host, HttpAnswer, Ticket
from vesemir.engine.target.step_runner import StepRunner

KEY = StepKey("d1", Direction.FORWARD, "place")
URL = "http://127.0.0.1:8080/health"


@dataclass
class Bench:
    hosts: FakeHosts
    host: Host
    runner: StepRunner

    async def run(self, action: Action) -> StepResult:
        step = RenderedStep("place", action, idempotent=True, retries=0, failures={}, timeout=30)
        return await self.runner.run(KEY, step)

    def command(self) -> Command:
        (call,) = [call for call in self.hosts.calls if call.what == "run"]
        assert call.command is not None
        return call.command


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    hosts = FakeHosts()
    ticket = Ticket("d1", "shop/production", 1, lambda: True, 3, 10)

    def artifact(url: str) -> Path:
        if "secret" in url:
            raise FailedError(FailureCode.REQUEST_FORBIDDEN, "not below a root")
        return tmp_path / url.removeprefix("file:///")

    async with hosts.open(Target("web1", "127.0.0.1"), ticket) as host:
        yield Bench(hosts, host, StepRunner(host, artifact=artifact, python="/opt/python"))


def fetch(url: str, *, timeout: float = 30) -> FetchAction:
    return FetchAction(url, "/srv/app.tar", 0o644, "app", "app", "ab" * 32, sudo=True, timeout=timeout)


def put(source: str | None, content: bytes | None) -> PutAction:
    return PutAction("/etc/app.conf", source, content, 0o600, "", "", "", sudo=False, timeout=30)


async def test_a_command_is_run_as_it_is(bench: Bench) -> None:
    command = Command(("a", "$(b)"))
    result = await bench.run(RunAction(command))
    assert (result.status, bench.command()) == (StepStatus.SUCCEEDED, command)


async def test_a_file_artifact_is_uploaded_and_placed(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "app.tar").write_bytes(b"release")
    await bench.run(fetch("file:///app.tar"))
    assert bench.hosts.box("web1").files == {"d1.place": b"release"}
    command = bench.command()
    assert (command.argv[0], command.sudo) == ("/opt/python", True)
    assert command.environment["VESEMIR_PLACE_SOURCE"].endswith("/d1.place")
    assert command.environment["VESEMIR_PLACE_SHA256"] == "ab" * 32


async def test_an_http_artifact_is_fetched_by_the_host(bench: Bench) -> None:
    await bench.run(fetch("https://127.0.0.1/app.tar"))
    assert bench.hosts.box("web1").files == {}
    assert bench.command().environment["VESEMIR_PLACE_URL"] == "https://127.0.0.1/app.tar"


@pytest.mark.parametrize(("content", "sent"), [(b"text", b"text"), (None, b"")])
async def test_content_is_written(bench: Bench, content: bytes | None, sent: bytes) -> None:
    await bench.run(put(None, content))
    assert bench.hosts.box("web1").files == {"d1.place": sent}


async def test_a_file_of_the_instance_is_sent(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_bytes(b"x=1")
    await bench.run(put("app.conf", None))
    assert bench.hosts.box("web1").files == {"d1.place": b"x=1"}


@pytest.mark.parametrize(
    ("source", "code"),
    [("secret", FailureCode.REQUEST_FORBIDDEN), ("gone", FailureCode.ARTIFACT_UNAVAILABLE)],
)
async def test_a_file_that_may_not_or_cannot_be_read_is_said(bench: Bench, source: str, code: FailureCode) -> None:
    with pytest.raises(FailedError) as error:
        await bench.run(put(source, None))
    assert error.value.failure.code is code


async def test_sending_that_takes_too_long_is_timed_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_content: bytes, _name: str) -> str:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    monkeypatch.setattr(bench.host, "write", never)
    result = await bench.run(put(None, b"x"))
    assert result.status is StepStatus.TIMED_OUT
    assert b"longer than 30 s" in result.output
    assert asyncio.get_running_loop().time() == pytest.approx(30)


def check(probe: HttpProbe | TcpProbe | Command, *, deadline: float = 10, stable: float = 0) -> CheckAction:
    return CheckAction(probe, interval=2, deadline=deadline, stable_seconds=stable)


async def test_a_check_passes_at_the_try_at_which_it_passes(bench: Bench) -> None:
    running = asyncio.create_task(bench.run(check(HttpProbe(URL, 200, contains="ok"))))
    await asyncio.sleep(3)
    bench.hosts.pages[URL] = HttpAnswer(200, b"all ok")
    result = await running
    assert (result.status, result.output) == (StepStatus.SUCCEEDED, b"passed at try 3\n")


async def test_an_application_that_takes_40_s_to_start_passes(bench: Bench) -> None:
    """Case slow-start: `release` gave it 30 s; its deadline is systemd's now (test_release_recipe.py)."""
    running = asyncio.create_task(bench.run(check(HttpProbe(URL, 200), deadline=90, stable=1)))
    await asyncio.sleep(40)
    bench.hosts.pages[URL] = HttpAnswer(200, b"")
    assert (await running).status is StepStatus.SUCCEEDED
    assert asyncio.get_running_loop().time() == pytest.approx(41)


async def test_a_check_that_never_passes_ends_before_its_deadline(bench: Bench) -> None:
    bench.hosts.pages[URL] = HttpAnswer(503, b"")
    result = await bench.run(check(HttpProbe(URL, 200)))
    assert result.status is StepStatus.FAILED
    assert result.output == f"{URL} answered 503, expected 200 (5 tries in 8.0 s)\n".encode()
    assert asyncio.get_running_loop().time() == pytest.approx(8)


async def test_an_address_that_flaps_does_not_pass(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 and 503 in turn (case flapping): one 200 was enough."""
    answers = itertools.cycle([200, 200, 503])

    async def flapping(*_arguments: object, **_named: object) -> HttpAnswer:
        return HttpAnswer(next(answers), b"")

    monkeypatch.setattr(bench.host, "http_get", flapping)
    result = await bench.run(check(HttpProbe(URL, 200), stable=3))
    assert result.status is StepStatus.FAILED
    assert result.output.decode() == (
        "it must pass for 3 s without a failing try (stable_seconds) and did for 2.0 s at most; "
        f"2 of 6 tries failed, the last: {URL} answered 503, expected 200 (6 tries in 8.0 s)\n"
    )
    assert (await bench.run(check(HttpProbe(URL, 200)))).status is StepStatus.SUCCEEDED


async def test_a_check_passes_when_it_has_held(bench: Bench) -> None:
    """The last try comes as soon as the time is over, and a failing one begins the time anew."""
    bench.hosts.pages[URL] = HttpAnswer(200, b"")
    running = asyncio.create_task(bench.run(check(HttpProbe(URL, 200), stable=5, deadline=30)))
    await asyncio.sleep(3)
    bench.hosts.pages[URL] = HttpAnswer(503, b"")
    await asyncio.sleep(2)
    bench.hosts.pages[URL] = HttpAnswer(200, b"")
    result = await running
    assert (result.status, result.output) == (
        StepStatus.SUCCEEDED,
        b"passed at try 4 and for 5 s from then on\n",
    )
    assert asyncio.get_running_loop().time() == pytest.approx(11)


async def test_a_check_that_began_to_pass_too_late_says_for_how_long_it_held(bench: Bench) -> None:
    bench.hosts.pages[URL] = HttpAnswer(200, b"")
    result = await bench.run(check(HttpProbe(URL, 200), stable=10))
    assert result.reason.endswith("did for 8.0 s at most; 0 of 5 tries failed")


async def test_a_refused_connection_is_said_once(bench: Bench) -> None:
    result = await bench.run(check(HttpProbe(URL, 200), deadline=1))
    assert result.output.startswith(f"{URL} is not available (1 tries".encode())


@pytest.mark.parametrize("probe", [HttpProbe(URL, 200), TcpProbe("127.0.0.1", 80)])
async def test_no_answer_in_time_is_said(
    bench: Bench, probe: HttpProbe | TcpProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_arguments: object, timeout: float) -> None:
        async with asyncio.timeout(timeout):
            await asyncio.Event().wait()

    monkeypatch.setattr(bench.host, "http_get", silent)
    monkeypatch.setattr(bench.host, "tcp_connect", silent)
    result = await bench.run(check(probe, deadline=25))
    assert b"gave no answer within 1.0 s (3 tries" in result.output
    assert asyncio.get_running_loop().time() == pytest.approx(25)


async def test_a_port_that_listens_passes(bench: Bench) -> None:
    bench.hosts.listening.add(("127.0.0.1", 80))
    assert (await bench.run(check(TcpProbe("127.0.0.1", 80)))).status is StepStatus.SUCCEEDED
    refused = await bench.run(check(TcpProbe("127.0.0.1", 81), deadline=1))
    assert b"127.0.0.1:81 is not available" in refused.output


async def test_a_command_as_a_check_is_supervised(bench: Bench) -> None:
    bench.hosts.steps["place"] = [failed(3, b"not yet\n"), StepResult(StepStatus.SUCCEEDED, 0)]
    result = await bench.run(check(Command(("true",))))
    assert (result.status, result.exit_status, result.output) == (StepStatus.SUCCEEDED, 0, b"passed at try 2\n")
    bench.hosts.steps["place"] = StepResult(StepStatus.FAILED, None, reason="killed by signal 9")
    result = await bench.run(check(Command(("true",)), deadline=1))
    assert b"ended with None: killed by signal 9" in result.output
