"""``vesemir run`` with a watch on its own event loop: how late a timer of 2 ms comes, written down at the end.

python -m benchmarks.lagging OUTPUT: takes samples from SIGUSR1 to the next SIGUSR1; the process ends with SIGTERM.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

import vesemir.service
from vesemir.service import run
from vesemir.settings import Settings

PERIOD = 0.002


class Watch:
    """One window of samples, in seconds."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._lags: list[float] = []
        self._on = False

    def toggle(self) -> None:
        if self._on:
            self._output.with_suffix(".new").write_text(json.dumps(self._lags))
            self._output.with_suffix(".new").rename(self._output)
        self._on, self._lags = not self._on, []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.toggle)
        while True:
            due = loop.time() + PERIOD
            await asyncio.sleep(PERIOD)
            if self._on:
                self._lags.append(max(0.0, loop.time() - due))


def main() -> int:
    watch, original = Watch(Path(sys.argv[1])), vesemir.service._main

    async def watched(settings: Settings) -> int:
        watching = asyncio.create_task(watch.run())
        try:
            return await original(settings)
        finally:
            watching.cancel()

    vesemir.service._main = watched
    return run(Settings())


if __name__ == "__main__":
    sys.exit(main())
