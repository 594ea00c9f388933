"""Clients of a web page that count every request which did not get its whole answer. They never ask again.

Three kinds, as real ones: some keep their connection from request to request, some make a new one each time, and some
ask for a page that takes seconds. A connection that the server has closed or said to close is not used again, as
RFC 9112, section 9, wants; whatever else happens to a request is a failure of the service.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ANSWER_SECONDS = 15.0
"""Longer than the slowest page; a request that takes longer has failed."""
PAUSE_SECONDS = {"kept": 0.2, "fresh": 0.05, "slow": 0.05}
"""Between two requests of one client: the machine is shared with what is measured. Many connections are idle at any
moment, which is what a reload has to be careful with."""
SLOW_SECONDS = 1.5
MOST_REQUESTS = 200_000


@dataclass
class Seen:
    """What all clients saw. ``failures`` by what happened, ``answers`` by (box, version)."""

    requests: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)
    """The first failures with their times, to look for their cause."""

    @property
    def total(self) -> int:
        return self.requests.total()

    @property
    def failed(self) -> int:
        return self.failures.total()

    def boxes_with(self, version: str) -> set[str]:
        return {box for box, its in self.answers if its == version}

    def fail(self, kind: str, url: str, error: BaseException) -> None:
        text = f"{kind}: {error or type(error).__name__}" if str(error) else f"{kind}: {type(error).__name__}"
        self.failures[text] += 1
        if len(self.first) < 20:
            self.first.append(f"{time.strftime('%H:%M:%S', time.gmtime())}.{time.time() % 1:.3f} {url} {text}")


class _Line:
    """One client's connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str, *, keep: bool) -> bytes:
        """The whole body of an answer with status 200. Raises for everything else; the connection is closed then."""
        try:
            reader, writer = await self._open()
            last = "" if keep else "Connection: close\r\n"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: shop\r\n{last}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            status, _, headers = head.partition("\r\n")
            length = next(line for line in headers.split("\r\n") if line.startswith("content-length:"))
            body = await reader.readexactly(int(length.partition(":")[2]))
            if not status.startswith("http/1.1 200 "):
                raise ValueError(status)
        except BaseException:
            self.close()
            raise
        if not keep or "connection: close" in headers:
            self.close()
        return body

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # the server closed it, and said so before anything was asked
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _client(kind: str, url: str, path: str, seen: Seen, *, keep: bool, stopping: asyncio.Event) -> None:
    line = _Line(url)
    try:
        while not stopping.is_set() and seen.total < MOST_REQUESTS:
            seen.requests[kind] += 1
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    said = json.loads(await line.get(path, keep=keep))
                seen.answers[said["box"], said["version"]] += 1
            except (OSError, EOFError, ValueError, TimeoutError, StopIteration) as error:
                seen.fail(kind, url, error)
            await asyncio.sleep(PAUSE_SECONDS[kind])
    finally:
        line.close()


@asynccontextmanager
async def load(urls: Sequence[str], *, keeping: int, fresh: int, slow: int) -> AsyncIterator[Seen]:
    """So many clients of each kind, shared out over ``urls``, while the block lasts; each ends its last request."""
    seen, stopping = Seen(), asyncio.Event()
    pages = {
        "kept": ("/", True, keeping),
        "fresh": ("/", False, fresh),
        "slow": (f"/slow?seconds={SLOW_SECONDS}", True, slow),
    }
    try:
        async with asyncio.TaskGroup() as group:
            for kind, (path, keep, count) in pages.items():
                for number in range(count):
                    url = urls[number % len(urls)]
                    group.create_task(_client(kind, url, path, seen, keep=keep, stopping=stopping))
            yield seen
            stopping.set()
    finally:
        stopping.set()
