"""What is told of a pooler, and what a transaction behind one begins with."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from vesemir.adapters.postgres.errors import translated
from vesemir.adapters.postgres.poolers import Pooler, beginning
from vesemir.adapters.postgres.timelines import Timeline
from vesemir.engine.ports.store import StoreAwayError

SETTINGS = {"application_name": "vesemir", "jit": "off", "statement_timeout": "9000"}


class Link:
    """A connection that was told one process when it connected, and has another one."""

    def __init__(self, *, told: int, process: int) -> None:
        self._told = told
        self._process = process
        self.terminated = False

    async def copy_from_query(self, _: str, *, output: Callable[[bytes], Awaitable[None]], timeout: float) -> None:
        del timeout
        await output(f"{self._process}\n".encode())

    def get_server_pid(self) -> int:
        return self._told

    def terminate(self) -> None:
        self.terminated = True


class Way:
    """``asyncpg.connect``, with what it gives in turn; ``options`` are those of each time."""

    def __init__(self, *answers: Link | Exception) -> None:
        self._answers = iter(answers)
        self.options: list[dict[str, object]] = []

    async def connect(self, _: str, **options: object) -> Link:
        self.options.append(options)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def connected(monkeypatch: pytest.MonkeyPatch, way: Way, pooler: Pooler) -> object:
    monkeypatch.setattr(asyncpg, "connect", way.connect)
    return await pooler.connected("postgresql://one/record", timeout=1, server_settings=SETTINGS)


async def test_a_server_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    server, pooler = Link(told=7, process=7), Pooler()
    way = Way(server)
    assert await connected(monkeypatch, way, pooler) is server
    assert not pooler.is_there
    assert way.options == [{"timeout": 1, "server_settings": SETTINGS}]


@pytest.mark.parametrize(
    "sign",
    [
        Link(told=7, process=8),
        asyncpg.ProtocolViolationError("unsupported startup parameter: jit"),
        asyncpg.DuplicatePreparedStatementError('prepared statement "__asyncpg_stmt_1__" already exists'),
        asyncpg.InvalidSQLStatementNameError('prepared statement "__asyncpg_stmt_1__" does not exist'),
    ],
    ids=["another process", "a setting refused", "a name taken", "a name lost"],
)
async def test_behind_a_pooler_nothing_is_left_to_the_session(
    monkeypatch: pytest.MonkeyPatch, sign: Link | Exception
) -> None:
    pooler, second, third = Pooler(), Link(told=1, process=2), Link(told=3, process=4)
    way = Way(sign, second, third)
    assert await connected(monkeypatch, way, pooler) is second
    assert await connected(monkeypatch, way, pooler) is third, "once noticed it is not looked for again"
    assert pooler.is_there
    assert not isinstance(sign, Link) or sign.terminated
    careful = {"timeout": 1, "server_settings": {"application_name": "vesemir"}, "statement_cache_size": 0}
    assert way.options[1:] == [careful, careful]


async def test_another_error_is_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (asyncpg.ProtocolViolationError("no such database: x"), asyncpg.CannotConnectNowError("starting")):
        with pytest.raises(type(error)):
            await connected(monkeypatch, Way(error), pooler := Pooler())
        assert not pooler.is_there


def test_a_transaction_begins_with_its_settings_and_a_look_at_its_server() -> None:
    plain = beginning(SETTINGS, None)
    assert plain == "BEGIN; SET LOCAL jit = 'off'; SET LOCAL statement_timeout = '9000'"
    looking = beginning(SETTINGS, Timeline("7123", 26))
    assert looking.startswith(plain)
    assert "<> 7123" in looking
    assert "<> '0000001A'" in looking


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("transaction blocks not allowed in statement pooling mode", "set pool_mode = transaction or session"),
        ("query_wait_timeout", "raise PgBouncer's default_pool_size"),
        ("no more connections allowed (max_client_conn)", "raise PgBouncer's max_client_conn"),
        ("no such database: record", "name it in the section"),
        ("unsupported startup parameter: search_path", "take it out of postgres.dsn"),
    ],
)
def test_the_words_of_a_pooler_have_their_own_advice(words: str, advice: str) -> None:
    with pytest.raises(StoreAwayError) as caught, translated():
        raise asyncpg.ProtocolViolationError(words)
    assert str(caught.value).startswith(f"PostgreSQL: {words}; {advice}")
