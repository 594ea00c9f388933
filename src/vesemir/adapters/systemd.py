"""What systemd wants to hear: ready, alive, what it does, stopping (sd_notify(3), whose manual page sanctions this).

Datagrams to the socket that NOTIFY_SOCKET names, a path or, with a leading ``@``, an abstract name. Without systemd
nothing is said. Saying it never fails: a service must not die because nobody listens.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

from vesemir.engine.failpoints import Failpoint, reach
from vesemir.engine.ports.observe import Log

MICROSECONDS = 1_000_000
TURN_SECONDS = 1.0
"""Between two looks at what the service does."""
MOST_ANSWER = 1000
"""Characters of a reload's answer: the log has all of it."""


class Notifier:
    """``address`` is NOTIFY_SOCKET's value; ``watchdog_seconds`` is WatchdogSec, if it is for this process."""

    def __init__(self, address: str | None, *, log: Log, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._log = log
        self._watchdog_seconds = watchdog_seconds
        self._answer = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, *, log: Log) -> Self:
        """As systemd started this process. WATCHDOG_PID tells whether the watchdog watches this one."""
        for_us = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = environment.get("WATCHDOG_USEC", "")
        watched = for_us and interval.isdigit() and int(interval) > 0
        address = environment.get("NOTIFY_SOCKET") or None
        return cls(address, log=log, watchdog_seconds=int(interval) / MICROSECONDS if watched else None)

    def ready(self) -> None:
        self.notify("READY=1")

    def reloaded(self, answer: str) -> None:
        """Ready again. The status ends with ``answer`` from now on: ``systemctl reload`` waits for it there."""
        self._answer = f"; {' '.join(answer.split())[:MOST_ANSWER]}"
        self.notify(f"READY=1\nSTATUS=reloaded{self._answer}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self.notify(f"STATUS={' '.join(text.split())}")

    def reloading(self) -> None:
        """Until ``ready``. systemd tells this reload from an earlier one by the time (Type=notify-reload)."""
        self.notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, seconds: float) -> None:
        """Stopping takes up to so many seconds from now, should TimeoutStopSec be less; then systemd kills."""
        self.notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * MICROSECONDS)}")

    async def watch(self, doing: Callable[[], str]) -> None:
        """For ever: say that the event loop lives, at half the watchdog's interval or sooner, and what it does.

        That is all that the watchdog proves. ``doing`` is one line, told again when it has changed.
        """
        clock = asyncio.get_running_loop().time
        interval = self._watchdog_seconds / 2 if self._watchdog_seconds is not None else None
        due, reported = clock(), ""
        while True:
            reach(Failpoint.LOOP_TURN)
            if interval is not None and clock() >= due:
                self.notify("WATCHDOG=1")
                due = clock() + interval
            if (text := doing() + self._answer) != reported:
                self.status(text)
                reported = text
            await asyncio.sleep(min(TURN_SECONDS, interval or TURN_SECONDS))

    def notify(self, state: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as to:
                to.sendto(state.encode(), address)
        except OSError as error:
            self._log.debug(f"systemd cannot be told {state.split('=', 1)[0]}: {error}")
