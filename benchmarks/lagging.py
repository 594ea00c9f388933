"""An instance with a watch on its own event loop: how late a timer of 2 ms comes.

python -m benchmarks.lagging OUTPUT: SIGUSR1 begins a window, the next one ends it and writes its samples, in seconds.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import uvloop

from vesemir.adapters.observe import set_up_logging
from vesemir.service import Service
from vesemir.settings import Settings

PERIOD = 0.002


class Watch:
    """One window of samples at a time."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._lags: list[float] = []
        self._on = False

    def toggle(self) -> None:
        if self._on:
            new = self._output.with_suffix(".new")
            new.write_text(json.dumps(self._lags))
            new.rename(self._output)
        self._on, self._lags = not self._on, []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PERIOD
            await asyncio.sleep(PERIOD)
            if self._on:
                self._lags.append(max(0.0, loop.time() - due))


async def main(output: Path) -> None:
    settings, watch, loop = Settings(), Watch(output), asyncio.get_running_loop()
    set_up_logging(settings.log.level, settings.log.format, secrets=())
    async with Service.built(settings, instance=f"{settings.instance}/{os.getpid()}") as service:
        loop.add_signal_handler(signal.SIGTERM, service.stop)
        loop.add_signal_handler(signal.SIGUSR1, watch.toggle)
        watching = asyncio.create_task(watch.run())
        await service.run()
        watching.cancel()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
