"""Clients of the lab's page that ask all the time, and remember who answered what."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

_PAUSE_SECONDS = 0.01
"""Between two requests of one client: the machine is shared with what is measured."""


@dataclass
class Seen:
    """``answers`` by (status, box, version); ``broken`` are requests without a whole answer."""

    answers: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def count(self, *, status: int | None = None, version: str | None = None) -> int:
        return sum(
            number
            for (its_status, _, its_version), number in self.answers.items()
            if status in (None, its_status) and version in (None, its_version)
        )

    @property
    def total(self) -> int:
        return self.answers.total() + len(self.broken)


@contextmanager
def steady_load(url: str, *, clients: int = 4) -> Iterator[Seen]:
    """Within the block they ask, each over a connection of its own that it keeps while the server does."""
    seen, lock, stop = Seen(), threading.Lock(), threading.Event()

    def ask() -> None:
        parts = urlsplit(url)
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=20)
        while not stop.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = json.loads(answer.read())
                key = (answer.status, body.get("box", "?"), body.get("version", "?"))
                with lock:
                    seen.answers[key] += 1
            except (OSError, HTTPException, ValueError) as error:
                connection.close()
                with lock:
                    seen.broken.append(f"{type(error).__name__}: {error}")
            time.sleep(_PAUSE_SECONDS)
        connection.close()

    threads = [threading.Thread(target=ask, name=f"client {number}") for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
