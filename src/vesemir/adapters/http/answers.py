"""What every answer has in common: JSON, errors as JSON too, and the token."""

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import StoreAwayError

RETRY_SECONDS = 5
API = "/api/"


class BadQueryError(Exception):
    """A query parameter that cannot be meant; the text says what is allowed."""


def json_answer(
    body: Any,  # noqa: ANN401 - whatever JSON has
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An answer that no cache keeps: it is true now."""
    return web.Response(
        text=json.dumps(body, ensure_ascii=False) + "\n",
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def error_answer(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return json_answer({"error": {"status": status.value, "message": message}}, status, headers)


def only_parameters(request: web.Request, allowed: Sequence[str]) -> None:
    """Raises ``BadQueryError`` for any other: a typo must not become a default."""
    unknown = sorted(set(request.query) - set(allowed))
    if unknown:
        what = f"allowed are {', '.join(allowed)}" if allowed else "none is allowed here"
        raise BadQueryError(f"unknown query parameter {unknown[0]}; {what}")


def errors_as_json(log: Log) -> Middleware:
    """A middleware: every error is JSON; what is not expected is logged as a bug and tells the caller nothing."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            kept = {name: value for name, value in error.headers.items() if name == "Allow"}
            return error_answer(HTTPStatus(error.status), error.reason, kept)
        except BadQueryError as error:
            return error_answer(HTTPStatus.BAD_REQUEST, str(error))
        except StoreAwayError:
            message = "the database does not answer; try again"
            return error_answer(HTTPStatus.SERVICE_UNAVAILABLE, message, {"Retry-After": str(RETRY_SECONDS)})
        except Exception:  # the last place before aiohttp's own page; logged as a bug
            log.exception(f"{request.method} {request.path} failed; this is a bug")
            return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log has more")

    return answer


def token_required(token: Callable[[], str] | None) -> Middleware:
    """A middleware that asks for ``Authorization: Bearer TOKEN`` under ``/api/``, if there is a token.

    ``token`` says which one now: several, one a line, while it is being changed.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token is not None and request.path.startswith(API) and not _shown(request, token().splitlines()):
            challenge = {"WWW-Authenticate": 'Bearer realm="vesemir"'}
            return error_answer(HTTPStatus.UNAUTHORIZED, "a bearer token is required (setting http.token)", challenge)
        return await handler(request)

    return check


def _shown(request: web.Request, expected: Sequence[str]) -> bool:
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    given = shown.strip().encode("utf-8", "surrogateescape")
    right = [hmac.compare_digest(given, each.strip().encode()) for each in expected if each.strip()]
    return any(right) and scheme.lower() == "bearer"
