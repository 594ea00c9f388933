"""What systemd hears, on a real datagram socket, and that nothing happens where nobody listens."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vesemir.adapters.systemd import Notifier
from vesemir.engine.ports.observe import SilentLog


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@vesemir-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1) if request.param == "abstract" else address)
        listener.settimeout(5)
        yield address, listener


def test_what_is_said(listening: tuple[str, socket.socket]) -> None:
    address, listener = listening
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address}, log=SilentLog())
    notifier.ready()
    notifier.status("two\nlines")
    notifier.stopping(2.5)
    heard = [listener.recv(1000).decode() for _ in range(3)]
    assert heard == ["READY=1", "STATUS=two lines", "STOPPING=1\nEXTEND_TIMEOUT_USEC=2500000"]


async def test_the_watchdog_is_fed_again_and_again(listening: tuple[str, socket.socket]) -> None:
    address, listener = listening
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    task = asyncio.create_task(Notifier.from_environment(environment, log=SilentLog()).watch(lambda: "takes work"))
    heard = [await asyncio.to_thread(listener.recv, 1000) for _ in range(4)]
    task.cancel()
    assert heard == [b"WATCHDOG=1", b"STATUS=takes work", b"WATCHDOG=1", b"WATCHDOG=1"]


async def test_what_it_does_is_said_when_it_changes(listening: tuple[str, socket.socket]) -> None:
    address, listener = listening
    does = iter(["waits", "waits", "works", "works", "stops"])
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000", "WATCHDOG_PID": str(os.getpid())}
    task = asyncio.create_task(
        Notifier.from_environment(environment, log=SilentLog()).watch(lambda: next(does, "stops"))
    )
    heard: list[bytes] = []
    while len(heard) < 3:
        said = await asyncio.to_thread(listener.recv, 1000)
        heard += [said] * said.startswith(b"STATUS=")
    task.cancel()
    assert heard == [b"STATUS=waits", b"STATUS=works", b"STATUS=stops"]


async def test_the_answer_of_a_reload_stays_in_the_status(listening: tuple[str, socket.socket]) -> None:
    address, listener = listening
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address}, log=SilentLog())
    notifier.reloaded("reload 1:\nall was read")
    task = asyncio.create_task(notifier.watch(lambda: "works"))
    heard = [await asyncio.to_thread(listener.recv, 1000) for _ in range(2)]
    task.cancel()
    assert heard == [b"READY=1\nSTATUS=reloaded; reload 1: all was read", b"STATUS=works; reload 1: all was read"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "20000"},
        {"NOTIFY_SOCKET": "/nowhere"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"},
    ],
)
async def test_without_a_watchdog_there_is_nothing_to_feed(environment: dict[str, str]) -> None:
    notifier = Notifier.from_environment(environment, log=SilentLog())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(notifier.watch(lambda: "works"), 0.05)


def test_nobody_listening_is_no_failure(tmp_path: Path) -> None:
    Notifier(None, log=SilentLog()).ready()
    Notifier(str(tmp_path / "nobody"), log=SilentLog()).ready()
    Notifier(str(tmp_path / ("long" * 100)), log=SilentLog()).stopping(1)
