"""``/api/v1/deployments``: lists with paging, one deployment, its events as JSON or as a stream."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus

from aiohttp import web

from vesemir.adapters.http.answers import BadQueryError, error_answer, json_answer, only_parameters
from vesemir.domain.doing import Doing
from vesemir.domain.states import FINAL, DeploymentState
from vesemir.engine.ports.reader import DeploymentReader
from vesemir.engine.ports.store import StoreAwayError, StoredEvent
from vesemir.engine.ports.views import DeploymentView

DEFAULT_LIMIT, MOST_DEPLOYMENTS, MOST_EVENTS = 50, 200, 1000
FILTERS = ("application", "environment", "state", "team")
LAST = "deployment.finished"
POLL_SECONDS = 0.5
"""Events are written by any instance: the record is the only place that knows of all of them, and it is asked."""
KEEP_ALIVE_SECONDS = 15.0
DEAF_SECONDS = 30.0
MOST_STREAMS = 200
"""Each asks the database now and then; more listeners belong on the topic exchange."""
LARGEST_SEQUENCE = 2**63 - 1


class ShownDoing:
    """What one listener knows of what the targets do."""

    def __init__(self) -> None:
        self._shown: Sequence[Doing] | None = None

    def news(self, doing: Sequence[Doing] | None) -> bytes:
        """A message without ``id:``, so that a listener that comes back is not taken for further than it is.

        Empty if nothing changed. An owner that has nothing to report any more falls silent: that is no news.
        """
        if doing == self._shown or (doing is None and not self._shown):
            return b""
        self._shown = doing
        body = None if doing is None else [each.as_json() for each in doing]
        return f"event: progress\ndata: {json.dumps(body, ensure_ascii=False)}\n\n".encode("utf-8", "replace")


class Deployments:
    """Handlers for aiohttp. ``end_streams`` ends what would otherwise hold up a shutdown."""

    def __init__(self, reader: DeploymentReader) -> None:
        self._reader = reader
        self._closing = asyncio.Event()
        self._streams = 0

    async def list_all(self, request: web.Request) -> web.StreamResponse:
        """``?limit=&before=ID&since=&application=&environment=&state=&team=``; ``next`` is the next ``before``."""
        only_parameters(request, ("limit", "before", "since", *FILTERS))
        limit = _whole(request, "limit", default=DEFAULT_LIMIT, least=1, most=MOST_DEPLOYMENTS)
        filters = {name: _text(request, name) for name in FILTERS}
        states = [state.value for state in DeploymentState]
        if filters["state"] is not None and filters["state"] not in states:
            raise BadQueryError(f"state is one of {', '.join(states)}")
        # One more than asked for tells whether there is another page.
        found = await self._reader.deployments(
            limit=limit + 1, before=_text(request, "before"), since=_moment(request, "since"), **filters
        )
        page = list(found[:limit])
        following = page[-1].deployment_id if len(found) > limit else None
        return json_answer({"deployments": [each.as_json() for each in page], "next": following})

    async def one(self, request: web.Request) -> web.StreamResponse:
        only_parameters(request, ())
        view = await self._view(request)
        if view is not None:
            return json_answer(view.as_json())
        result = await self._kept(request)
        if result is None:
            return _not_there(request)
        reported = f"it ended as {result.body['status']}, and its record was cleaned up since; /events has the result"
        return error_answer(HTTPStatus.GONE, reported)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """``?after=SEQUENCE&limit=``; with ``Accept: text/event-stream`` a stream until ``deployment.finished``.

        The stream has what the targets do, too, with ``?progress=true``.
        """
        only_parameters(request, ("after", "limit", "progress"))
        after = _whole(request, "after", default=0, least=0, most=LARGEST_SEQUENCE)
        limit = _whole(request, "limit", default=MOST_EVENTS, least=1, most=MOST_EVENTS)
        shown = ShownDoing() if _yes(request, "progress") else None
        view = await self._view(request)
        if view is None:
            return await self._cleaned(request, after)
        if "text/event-stream" in request.headers.get("Accept", ""):
            after = _resumed(request, after)
            if view.state in FINAL and after >= view.last_sequence:
                return web.Response(status=HTTPStatus.NO_CONTENT)  # a browser then stops asking again
            return await self._stream(request, after, shown)
        found = await self._reader.events(view.deployment_id, after=after, limit=limit + 1)
        page = list(found[:limit])
        following = page[-1].sequence if len(found) > limit else None
        return json_answer({"events": [event.body for event in page], "next": following})

    async def _cleaned(self, request: web.Request, after: int) -> web.StreamResponse:
        """The one event that is left, or that there never was such a deployment."""
        result = await self._kept(request)
        if result is None:
            return _not_there(request)
        due = [result.body] if result.sequence > _resumed(request, after) else []
        if "text/event-stream" not in request.headers.get("Accept", ""):
            return json_answer({"events": due, "next": None})
        if not due:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        return web.Response(body=_as_message(result), content_type="text/event-stream", charset="utf-8")

    async def _kept(self, request: web.Request) -> StoredEvent | None:
        deployment_id = request.match_info["id"]
        return None if "\0" in deployment_id else await self._reader.kept_result(deployment_id)

    async def end_streams(self, _: web.Application) -> None:
        self._closing.set()

    async def _view(self, request: web.Request) -> DeploymentView | None:
        deployment_id = request.match_info["id"]
        return None if "\0" in deployment_id else await self._reader.deployment_view(deployment_id)

    async def _stream(self, request: web.Request, after: int, shown: ShownDoing | None) -> web.StreamResponse:
        if self._streams >= MOST_STREAMS:
            return error_answer(HTTPStatus.SERVICE_UNAVAILABLE, "too many streams; read the topic exchange instead")
        self._streams += 1
        try:
            response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
            response.content_type = "text/event-stream"
            response.charset = "utf-8"
            await response.prepare(request)
            with suppress(ConnectionError, TimeoutError):  # the listener has gone, or does not listen
                await self._follow(response, request.match_info["id"], after, shown)
                await response.write_eof()
            return response
        finally:
            self._streams -= 1

    async def _follow(
        self, response: web.StreamResponse, deployment_id: str, after: int, shown: ShownDoing | None
    ) -> None:
        loop = asyncio.get_running_loop()
        wording = loop.time()
        ended = False
        while not self._closing.is_set():
            found = await self._found(deployment_id, after)
            for event in found:
                await _tell(response, _as_message(event))
                after = event.sequence
                wording = loop.time()
                if event.name == LAST:
                    return
            if found:
                continue
            if ended:
                return  # the listener had all of it already
            view, ended = await self._now(deployment_id)
            if shown is not None and view is not None and (news := shown.news(view.doing)):
                await _tell(response, news)
                wording = loop.time()
            if loop.time() - wording >= KEEP_ALIVE_SECONDS:
                await _tell(response, b": still here\n\n")
                wording = loop.time()
            if not ended:
                await self._pause()

    async def _found(self, deployment_id: str, after: int) -> Sequence[StoredEvent]:
        try:
            return await self._reader.events(deployment_id, after=after, limit=MOST_EVENTS)
        except StoreAwayError:
            return []  # the listener waits, as everybody does; comments keep the connection

    async def _now(self, deployment_id: str) -> tuple[DeploymentView | None, bool]:
        """With whether no event can come any more; the events are read once more after this has said so."""
        try:
            view = await self._reader.deployment_view(deployment_id)
        except StoreAwayError:
            return None, False
        return view, view is None or view.state in FINAL

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._closing.wait()
        except TimeoutError:
            return


async def _tell(response: web.StreamResponse, message: bytes) -> None:
    """Raises ``TimeoutError`` for a listener that takes nothing any more: others wait for its place."""
    async with asyncio.timeout(DEAF_SECONDS):
        await response.write(message)


def _as_message(event: StoredEvent) -> bytes:
    """One message of the stream (HTML standard, section 9.2.6); JSON on one line has no line break."""
    lines = (f"id: {event.sequence}", f"event: {event.name}", f"data: {json.dumps(event.body, ensure_ascii=False)}")
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def _resumed(request: web.Request, after: int) -> int:
    """Where a listener that lost its connection goes on: its browser says the last ``id`` that it had."""
    last = request.headers.get("Last-Event-ID", "")
    return min(int(last), LARGEST_SEQUENCE) if last.isascii() and last.isdigit() and len(last) < 20 else after  # noqa: PLR2004


def _not_there(request: web.Request) -> web.Response:
    return error_answer(HTTPStatus.NOT_FOUND, f"there is no deployment {request.match_info['id']}")


def _text(request: web.Request, name: str) -> str | None:
    values = request.query.getall(name, [])
    if len(values) > 1 or any("\0" in value for value in values):
        raise BadQueryError(f"{name} is given once, as text")
    return values[0] if values else None


def _yes(request: web.Request, name: str) -> bool:
    text = _text(request, name)
    if text not in {None, "true", "false"}:
        raise BadQueryError(f"{name} is true or false")
    return text == "true"


def _moment(request: web.Request, name: str) -> datetime | None:
    text = _text(request, name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a plus that was not quoted comes as a space
        # At the edges of the calendar a time of another zone is none in UTC, which the record keeps: OverflowError.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise BadQueryError(
            f"{name} is a time as in RFC 3339, 2026-11-01T12:30:00Z, or a day, in the years 1 to 9999 of UTC"
        ) from error


def _whole(request: web.Request, name: str, *, default: int, least: int, most: int) -> int:
    text = _text(request, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):  # noqa: PLR2004
        raise BadQueryError(f"{name} is a whole number from {least} to {most}")
    return int(text)
