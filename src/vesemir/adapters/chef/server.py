"""One Chef server, or one organization of it: signed searches over HTTP, tried again where that can help.

A search changes nothing, so what may be a passing trouble (no connection, no answer in time, 429, 500, 502-504) is
tried again after a short wait; a refusal is not. Everything that goes wrong leaves here as a ``FailedError`` with
advice.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp
from yarl import URL

from vesemir.adapters.chef import trouble
from vesemir.adapters.chef.credentials import ChefCredentials, ChefIdentity
from vesemir.adapters.chef.node_reader import NAME
from vesemir.adapters.chef.paging import Page, Row
from vesemir.adapters.chef.signing import canonical_path, signed_headers
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.engine.ports.observe import Log, SilentLog
from vesemir.settings import ChefClusterSettings

_PASSING = frozenset({429, 500, 502, 503, 504})
_FIRST_WAIT_SECONDS = 0.3
_MOST_BYTES = 16 * 1024 * 1024
"""Of one answer: it is read by one call that holds up everything else, for 0.2 s or so at this size."""
_MOST_NODES = 10_000_000
_DIGITS = 9
_CONNECTIONS = 4
_CLIENT_VERSION = "17.0.0"
"""A Chef Infra Server refuses clients older than those that it was made for (``X-Chef-Version``)."""

Clock = Callable[[], datetime]


class _PassingError(Exception):
    """Trouble that may be over at the next attempt; ``failed`` is what it is if not."""

    def __init__(self, failed: FailedError) -> None:
        super().__init__(str(failed))
        self.failed = failed


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content_type: str
    date: str | None
    body: bytes


def utc_now() -> datetime:
    return datetime.now(UTC)


class ChefServer:
    """Made by ``opened``. ``text`` names it in messages, with its address."""

    def __init__(
        self,
        settings: ChefClusterSettings,
        *,
        cluster: str,
        credentials: ChefCredentials,
        session: aiohttp.ClientSession,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self.credentials = credentials
        self._session = session
        self._clock = clock
        base = URL(settings.url)
        organization = f"/organizations/{settings.organization}" if settings.organization else ""
        self._url = base.with_path(canonical_path(f"{base.path}{organization}/search/node"))
        self._in_organization = "/organizations/" in self._url.path
        self.text = f"the Chef server {cluster} ({settings.url})"

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, settings: ChefClusterSettings, *, cluster: str, clock: Clock = utc_now, log: Log | None = None
    ) -> AsyncIterator[Self]:
        """Nothing is asked yet. Raises ``ChefSettingsError`` for a key or a CA file that cannot be used."""
        credentials = ChefCredentials(settings, cluster=cluster, log=log or SilentLog())
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=settings.timeout_seconds)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield cls(settings, cluster=cluster, credentials=credentials, session=session, clock=clock)

    async def search(self, query: str, wanted: Mapping[str, list[str]], *, start: int) -> Page:
        """Nodes from the ``start``-th on, with the ``wanted`` attributes. Raises ``FailedError``."""
        body = json.dumps(wanted).encode()
        # goiardi sorts by keys of a row, and every row has a URL; the Chef Infra Server always sorts by its own ids.
        words = {"q": query, "rows": str(self._settings.rows), "start": str(start), "sort": "url asc"}
        return self._page(await self._answer(self._url.with_query(words), body))

    async def _answer(self, url: URL, body: bytes) -> _Answer:
        """The first success of so many attempts."""
        wait = _FIRST_WAIT_SECONDS
        for attempts_left in reversed(range(self._settings.attempts)):
            try:
                return await self._renewed_attempt(url, body)
            except _PassingError as error:
                if not attempts_left:
                    raise error.failed from error
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 -- spreads the attempts, protects nothing
            wait *= 2
        raise AssertionError("attempts is at least 1")

    async def _renewed_attempt(self, url: URL, body: bytes) -> _Answer:
        """Once more where the key or the certificate is refused and the files have others now."""
        used = self.credentials.current
        try:
            return await self._attempt(url, body, used)
        except FailedError as error:
            renewable = error.failure.code is FailureCode.TARGETS_INVENTORY_DENIED or isinstance(
                error.__cause__, aiohttp.ClientSSLError
            )
            if not renewable or not await self.credentials.renewed(used):
                raise
        return await self._attempt(url, body, self.credentials.current)

    async def _attempt(self, url: URL, body: bytes, identity: ChefIdentity) -> _Answer:
        """Signed anew each time: the moment is part of the signature."""
        now = self._clock()
        signed = await asyncio.to_thread(
            signed_headers, identity.key, "POST", url.path, body, client_name=self._settings.client_name, moment=now
        )
        headers = {
            **signed,
            "Accept": "application/json",
            "Content-Type": "application/json",
            "X-Chef-Version": _CLIENT_VERSION,
        }
        try:
            answer = await self._exchange(url, body, headers, identity)
        except (aiohttp.ClientSSLError, aiohttp.InvalidURL) as error:
            raise trouble.unreachable(
                self.text, f"cannot be trusted: {error}; check its certificate, and ca_file in the settings"
            ) from error
        except TimeoutError as error:
            text = f"has not answered within {self._settings.timeout_seconds:g} s; look at its load and at the network"
            raise _PassingError(trouble.unreachable(self.text, text)) from error
        except (aiohttp.ClientError, OSError) as error:
            text = (
                f"cannot be reached: {str(error) or type(error).__name__}; check that it runs and that its URL is right"
            )
            raise _PassingError(trouble.unreachable(self.text, text)) from error
        if answer.status == 200:  # noqa: PLR2004 -- OK
            return answer
        failed = trouble.refused(
            self.text,
            answer.status,
            answer.body,
            client_name=self._settings.client_name,
            date=answer.date,
            now=now,
            organization=self._in_organization,
        )
        raise _PassingError(failed) if answer.status in _PASSING else failed

    async def _exchange(self, url: URL, body: bytes, headers: Mapping[str, str], identity: ChefIdentity) -> _Answer:
        async with self._session.post(
            url, data=body, headers=headers, allow_redirects=False, ssl=identity.tls
        ) as response:
            found = bytearray()
            async for part in response.content.iter_any():
                found += part
                if len(found) > _MOST_BYTES:
                    text = f"answers more than {_MOST_BYTES >> 20} MiB: ask for less at once (rows in the settings)"
                    raise trouble.unreachable(self.text, text)
            return _Answer(response.status, response.content_type, response.headers.get("Date"), bytes(found))

    def _page(self, answer: _Answer) -> Page:
        try:
            document = json.loads(answer.body)
        except RecursionError as error:
            raise trouble.too_deep(self.text) from error
        except ValueError as error:
            raise trouble.no_json(self.text, answer.content_type) from error
        try:
            rows: list[Any] = document["rows"]
            found: dict[str, Row] = {}
            for row in rows:
                if row is not None and row["data"] is not None:  # in the index but no longer there
                    found[_checked_name(row["data"][NAME])] = row["data"]
            return Page(found, sent=len(rows), total=_checked_total(document["total"]))
        except (KeyError, TypeError, ValueError) as error:
            raise trouble.unlike_chef(self.text, f"{type(error).__name__}: {error}") from error


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a node's name is of type {type(name).__name__}")
    return name


def _checked_total(total: object) -> int:
    number = int(total) if isinstance(total, str) and total.isdecimal() and len(total) < _DIGITS else total
    if not isinstance(number, int) or not 0 <= number <= _MOST_NODES:
        raise ValueError("total is no number of nodes")
    return number
