"""What systemd wants to hear: ready, still alive, stopping (sd_notify(3), whose protocol its manual page sanctions).

Datagrams to the socket that NOTIFY_SOCKET names, a path or, with a leading ``@``, an abstract name. Without systemd
nothing is said. Saying it never fails: a service must not die because nobody listens.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Self

from loguru import logger

MICROSECONDS = 1_000_000


class Notifier:
    """``address`` is NOTIFY_SOCKET's value; ``watchdog_seconds`` is WatchdogSec, if it is for this process."""

    def __init__(self, address: str | None, *, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._watchdog_seconds = watchdog_seconds

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """As systemd started this process. WATCHDOG_PID tells whether the watchdog watches this one."""
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = environment.get("WATCHDOG_USEC", "")
        watched = for_us and interval.isdigit() and int(interval) > 0
        address = environment.get("NOTIFY_SOCKET") or None
        return cls(address, watchdog_seconds=int(interval) / MICROSECONDS if watched else None)

    def ready(self) -> None:
        self.notify("READY=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self.notify(f"STATUS={' '.join(text.split())}")

    def stopping(self, seconds: float) -> None:
        """Stopping takes up to so many seconds from now, whatever TimeoutStopSec says."""
        self.notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * MICROSECONDS)}")

    async def watch(self) -> None:
        """Say that the event loop lives, at half the watchdog's interval, for ever. That is all it proves."""
        if self._address is None or self._watchdog_seconds is None:
            await asyncio.Event().wait()
            return
        while True:
            self.notify("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_seconds / 2)

    def notify(self, state: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as to:
                to.sendto(state.encode(), address)
        except OSError as error:
            logger.debug("systemd cannot be told {}: {}", state.split("=", 1)[0], error)
