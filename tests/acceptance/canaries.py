"""Canary secrets, and everywhere that they may not be: what a person or a program can read of a run."""

import asyncio
import base64
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

_ODD = "+/'é"
LOOK_SECONDS = 0.1
"""Between two looks at the process list; a step of the test lives longer."""


def canary(name: str) -> str:
    """A secret that stands nowhere else; its end is written differently by URLs, JSON, shells and Python."""
    return f"canary-{name}-{secrets.token_hex(8)}{_ODD}"


def plain_canary(name: str) -> str:
    """One for places that take no such characters."""
    return f"canary-{name}-{secrets.token_hex(12)}"


def spellings(secret: str) -> set[bytes]:
    """How it may have been written: the part that everybody writes alike, or in base64."""
    return {secret.removesuffix(_ODD).encode(), base64.b64encode(secret.encode()).rstrip(b"=")}


@dataclass
class Everywhere:
    """What was written where; ``look`` finds any of the secrets in it."""

    written: dict[str, bytes] = field(default_factory=dict)

    def add(self, place: str, content: bytes | str) -> None:
        """More of a place; a place that is seen twice keeps both."""
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        self.written[place] = self.written.get(place, b"") + data

    def add_files(self, place: str, folder: Path, *, but: Iterable[Path] = ()) -> None:
        """Every regular file below a folder, with its path."""
        left_out = set(but)
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink() and file not in left_out:
                self.add(place, f"\n{file}\n")
                self.add(place, file.read_bytes())

    def add_database(self, dsn: str) -> None:
        """Every table as COPY writes it, bytea too."""
        for table, rows in asyncio.run(_tables(dsn)).items():
            self.add(f"table {table}", rows)

    def look(self, hidden: Mapping[str, str]) -> list[str]:
        """``NAME in PLACE`` for each that was found."""
        return [
            f"{name} in {place}: …{_around(content, form)!r}"
            for name, secret in hidden.items()
            for place, content in self.written.items()
            for form in sorted(spellings(secret))
            if form in content
        ]

    def table(self, hidden: Mapping[str, str]) -> str:
        """For people: the secrets, the places, and how much was looked through."""
        lines = [f"{len(hidden)} canaries: {', '.join(hidden)}", f"{'place':<44} {'bytes':>12}  found"]
        for place, content in sorted(self.written.items()):
            found = [name for name, secret in hidden.items() if any(form in content for form in spellings(secret))]
            lines.append(f"{place:<44} {len(content):>12}  {', '.join(found) or 'none'}")
        return "\n".join(lines)


def _around(content: bytes, form: bytes) -> bytes:
    place = content.index(form)
    return content[max(0, place - 60) : place + len(form) + 20]


async def _tables(dsn: str) -> dict[str, bytes]:
    connection = await asyncpg.connect(dsn)
    try:
        names = [
            row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        found = {}
        for name in names:
            rows = bytearray()

            async def take(piece: bytes, into: bytearray = rows) -> None:
                into += piece

            await connection.copy_from_table(name, output=take, format="binary")
            found[name] = bytes(rows)
        return found
    finally:
        await connection.close()


@contextmanager
def process_list() -> Iterator[set[bytes]]:
    """The command lines of all processes that were seen while the block ran."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    with suppress(OSError):  # it has ended meanwhile
                        seen.add((process / "cmdline").read_bytes())

    watcher = threading.Thread(target=look, name="process list")
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
