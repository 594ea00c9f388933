"""SIGHUP: what is read from files is read again at once, and systemd hears when that is done.

``systemctl reload`` waits for the answer, which ends the status line that systemd shows (``systemd/reload-answered``).
A file that cannot be used keeps what was read before: the answer, the log and ``/health`` say so, and the instance goes
on.
"""

import asyncio

from vesemir.adapters.reloaded_files import FileWatch
from vesemir.adapters.systemd import Notifier
from vesemir.engine.ports.observe import Log


class Reload:
    """``ask`` is for a signal handler; ``run`` does what was asked for. Several requests in a moment are one."""

    def __init__(self, watch: FileWatch, *, systemd: Notifier, log: Log) -> None:
        self._watch = watch
        self._systemd = systemd
        self._log = log
        self._asked = asyncio.Event()
        self._answers = 0

    def ask(self) -> None:
        self._asked.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._systemd.reloading()
            problems = await self._watch.look()
            for part, problem in problems.items():
                if problem:
                    self._log.error("reload: {part} stays as it was: {problem}", part=part, problem=problem)
            read = ", ".join(part for part, problem in problems.items() if not problem)
            self._log.info("reloaded (SIGHUP): {read}", read=read or "nothing")
            self._answers += 1
            kept = "; ".join(f"{part} stays as it was: {problem}" for part, problem in problems.items() if problem)
            # systemd/reload-answered reads these words.
            self._systemd.reloaded(f"reload {self._answers}: {kept or 'all was read'}")
