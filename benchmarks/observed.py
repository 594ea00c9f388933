"""An instance that knows what its logs and metrics cost it: the CPU of its one thread within them, call by call.

python -m benchmarks.observed OUTPUT: SIGUSR1 begins a window, the next one ends it and writes what it cost. Watching a
call takes about a microsecond, which is counted as the call's. What libraries do to find out that a line of theirs is
not wanted is their own and not counted.
"""

import asyncio
import functools
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import loguru._logger
import uvloop

from vesemir.adapters.observe import PrometheusMeters, set_up_logging
from vesemir.adapters.observe.logs import EngineLog, _Intercept
from vesemir.adapters.postgres import PostgresStore
from vesemir.service import Service
from vesemir.settings import Settings


class Costs:
    """Seconds and calls by what they were for; a call within another is part of it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._within = False

    def of(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def watched(*words: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the watched one takes and gives
            if self._within:
                return function(*words, **named)
            self._within = True
            begun = time.thread_time()
            try:
                return function(*words, **named)
            finally:
                self.seconds[name] += time.thread_time() - begun
                self.calls[name] += 1
                self._within = False

        return watched

    def watch(self, name: str, owner: type, *methods: str) -> None:
        for method in methods:
            setattr(owner, method, self.of(f"{name} {method}", getattr(owner, method)))


class Context(AbstractContextManager[object]):
    """Going into a log's context and out of it."""

    def __init__(self, costs: Costs, inner: AbstractContextManager[object]) -> None:
        self._enter = costs.of("log context", inner.__enter__)
        self._exit = costs.of("log context", inner.__exit__)

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        left: bool | None = self._exit(kind, error, trace)
        return left


class Steps:
    """A coroutine of which each step is counted."""

    def __init__(self, costs: Costs, name: str, inner: Coroutine[Any, Any, Any]) -> None:
        self._send = costs.of(name, inner.send)

    def __await__(self) -> Generator[Any, Any, Any]:
        told = None
        while True:
            try:
                asked = self._send(told)
            except StopIteration as end:
                return end.value
            told = yield asked


def watch_everything(costs: Costs) -> None:
    """Every door to the log and to the measures."""
    backlog = PostgresStore.backlog
    levels = ("debug", "info", "warning", "error", "exception")
    costs.watch("log", EngineLog, *levels, "context", "hiding")
    entered = {"context": EngineLog.context, "hiding": EngineLog.hiding}
    for name, made in entered.items():
        setattr(EngineLog, name, lambda *words, _made=made, **named: Context(costs, _made(*words, **named)))
    costs.watch("log", loguru._logger.Logger, "_log")  # noqa: SLF001 -- what every call of loguru goes through
    costs.watch("log", _Intercept, "emit")
    public = [name for name in vars(PrometheusMeters) if not name.startswith("_")]
    costs.watch("metrics", PrometheusMeters, *public)
    PostgresStore.backlog = lambda self: Steps(costs, "metrics backlog", backlog(self))  # type: ignore[method-assign,assignment]


class Window:
    """What the process took between two signals, and what of it went into logs and metrics."""

    def __init__(self, costs: Costs, output: Path) -> None:
        self._costs = costs
        self._output = output
        self._begun: float | None = None

    def toggle(self) -> None:
        costs = self._costs
        if self._begun is None:
            costs.seconds.clear()
            costs.calls.clear()
            self._begun = time.process_time()
            return
        told = {"cpu": time.process_time() - self._begun, "seconds": costs.seconds, "calls": costs.calls}
        new = self._output.with_suffix(".new")
        new.write_text(json.dumps(told))
        new.rename(self._output)
        self._begun = None


async def main(output: Path) -> None:
    settings, loop, costs = Settings(), asyncio.get_running_loop(), Costs()
    set_up_logging(settings.log.level, settings.log.format, secrets=())
    watch_everything(costs)
    window = Window(costs, output)
    async with Service.built(settings, instance=f"{settings.instance}/{os.getpid()}") as service:
        loop.add_signal_handler(signal.SIGTERM, service.stop)
        loop.add_signal_handler(signal.SIGUSR1, window.toggle)
        await service.run()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
