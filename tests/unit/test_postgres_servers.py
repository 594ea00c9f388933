"""A DSN with several hosts: each by itself, the writable one on the highest timeline, and never an old primary."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from vesemir.adapters.postgres.servers import Servers, each_server
from vesemir.adapters.postgres.timelines import OldPrimaryError, Timelines
from vesemir.engine.ports.store import StoreAwayError

ONE = "postgresql://u@one:1/r"
BOTH = "postgresql://u:hunter2@one:5432,two:5433/record"


@pytest.mark.parametrize(
    ("dsn", "each"),
    [
        ("postgresql://u:p@one/record", ["postgresql://u:p@one/record"]),
        (
            "postgresql://u:p@one:1,[::1]:2/record",
            [
                "postgresql://u:p@one:1/record?target_session_attrs=read-write",
                "postgresql://u:p@[::1]:2/record?target_session_attrs=read-write",
            ],
        ),
        (
            "postgresql://u:p@one,two/record?sslmode=require&target_session_attrs=primary",
            [
                "postgresql://u:p@one/record?sslmode=require&target_session_attrs=primary",
                "postgresql://u:p@two/record?sslmode=require&target_session_attrs=primary",
            ],
        ),
        (
            "postgresql://u:p@/record?host=one,two&port=1,2",
            [
                "postgresql://u:p@/record?host=one&port=1&target_session_attrs=read-write",
                "postgresql://u:p@/record?host=two&port=2&target_session_attrs=read-write",
            ],
        ),
        ("postgresql:///record?host=/run/postgresql", ["postgresql:///record?host=/run/postgresql"]),
    ],
)
def test_each_server_has_a_dsn_of_its_own(dsn: str, each: list[str]) -> None:
    assert list(each_server(dsn)) == each


class Fleet:
    """Servers by host name: their timeline, or the error of connecting; ``None`` never answers."""

    def __init__(self, **servers: int | Exception | None) -> None:
        self.servers = servers
        self.asked: list[str] = []

    async def connect(self, dsn: str, **_: object) -> "Link":
        host = dsn.split("@")[1].split(":", maxsplit=1)[0]
        self.asked.append(host)
        found = self.servers[host]
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, Exception):
            raise found
        assert found is not None
        return Link(host, found)


class Link:
    """A connection to one of them."""

    def __init__(self, host: str, timeline: int) -> None:
        self.host = host
        self._timeline = timeline

    async def copy_from_query(self, _: str, *, output: Callable[[bytes], Awaitable[None]], timeout: float) -> None:
        del timeout
        await output(b"1\n")

    def get_server_pid(self) -> int:
        return 1

    async def fetchrow(self, _: str) -> dict[str, object]:
        return {"system": 7, "wal": f"{self._timeline:08X}0000000000000001"}

    def terminate(self) -> None:
        return None


Use = Callable[[Fleet], Fleet]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    def used(fleet: Fleet) -> Fleet:
        monkeypatch.setattr(asyncpg, "connect", fleet.connect)
        return fleet

    return used


async def reached(servers: Servers) -> str:
    return str((await servers.connect(timeout=0.2)).host)


@pytest.mark.parametrize(
    "first",
    [None, ConnectionRefusedError(), asyncpg.CannotConnectNowError("starting up")],
    ids=["silent", "away", "up"],
)
async def test_the_next_one_is_asked_in_time(use: Use, first: Exception | None) -> None:
    use(Fleet(one=first, two=1))
    assert await reached(Servers(BOTH, Timelines())) == "two"


async def test_a_process_that_knows_nothing_takes_the_one_that_is_furthest(use: Use) -> None:
    use(Fleet(one=1, two=2))
    assert await reached(Servers(BOTH, Timelines())) == "two"


async def test_an_old_primary_is_refused_also_when_it_is_alone(use: Use) -> None:
    fleet = use(Fleet(one=ConnectionRefusedError(), two=2))
    servers = Servers(BOTH, Timelines())
    assert await reached(servers) == "two"
    fleet.servers.update(one=1, two=ConnectionRefusedError())
    with pytest.raises(OldPrimaryError, match="writes to timeline 1, and the record went on on timeline 2") as caught:
        await reached(servers)
    assert "hunter2" not in str(caught.value)
    fleet.servers.update(two=3)
    assert await reached(servers) == "two"


async def test_a_new_process_knows_it_from_the_file(use: Use, tmp_path: Path) -> None:
    file = tmp_path / "timeline"
    use(Fleet(one=2))
    await reached(Servers(ONE, Timelines(file)))
    assert json.loads(file.read_text(encoding="utf-8")) == {"7": 2}
    use(Fleet(one=1))
    with pytest.raises(OldPrimaryError):
        await reached(Servers(ONE, Timelines(file)))


@pytest.mark.parametrize("text", ["not json", "[]", '{"7": null}'])
async def test_a_broken_file_is_warned_of_and_written_anew(use: Use, tmp_path: Path, text: str) -> None:
    file, warnings = tmp_path / "timeline", list[str]()
    file.write_text(text, encoding="utf-8")
    use(Fleet(one=2))
    await reached(Servers(ONE, Timelines(file, warn=warnings.append)))
    assert json.loads(file.read_text(encoding="utf-8")) == {"7": 2}
    assert len(warnings) == 1


async def test_a_file_that_cannot_be_written_is_warned_of(use: Use, tmp_path: Path) -> None:
    warnings: list[str] = []
    use(Fleet(one=2))
    await reached(Servers(ONE, Timelines(tmp_path / "absent" / "file", warn=warnings.append)))
    assert "cannot be written" in warnings[0]


async def test_a_promotion_has_all_connections_replaced(use: Use) -> None:
    fleet, dropped, known = use(Fleet(one=1)), list[str](), Timelines()

    async def drop() -> None:
        dropped.append("pool")

    known.on_promotion.append(drop)
    servers = Servers(ONE, known)
    await reached(servers)
    assert dropped == []
    fleet.servers.update(one=2)
    await reached(servers)
    await reached(servers)
    assert dropped == ["pool"]


async def test_none_that_is_writable_says_what_each_said(use: Use) -> None:
    use(Fleet(one=None, two=asyncpg.TargetServerAttributeNotMatched("is a standby")))
    with pytest.raises(StoreAwayError, match=r"one:5432: no answer in time; two:5433: is a standby"):
        await reached(Servers(BOTH, Timelines()))
