"""What ``lab up`` shows while it works, on standard error: lines that tick on a terminal, plain lines elsewhere."""

import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn


class Progress:
    """One line per part that is starting. Used as ``with Progress(console) as progress``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False)

    async def of(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work``, shown as ``what``."""
        began = time.monotonic()
        task = self._bars.add_task(what, total=1)
        await work
        self._bars.update(task, completed=1)
        if not self._console.is_terminal:
            self.say(f"{what}: up after {time.monotonic() - began:.1f} s")
