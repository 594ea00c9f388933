"""The paths of contract section 4 and who answers them."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from vesemir import __version__
from vesemir.adapters.http.answers import errors_as_json, json_answer, only_parameters, token_required
from vesemir.adapters.http.deployments import Deployments
from vesemir.adapters.http.guarded import begun
from vesemir.adapters.http.hosts import METRICS, AcceptedHosts, own_site_only
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.reader import DeploymentReader
from vesemir.engine.upkeep.health import HealthRegistry
from vesemir.engine.upkeep.record_watch import READING_PART

SMALL = 64 * 1024
"""No request has a body; this bounds one that has."""


class Exposition(Protocol):
    """The measures as Prometheus reads them."""

    def exposition(self, health: HealthRegistry) -> tuple[bytes, str]:
        """The text and its content type."""
        ...


def http_app(
    *,
    health: HealthRegistry,
    meters: Exposition,
    reader: DeploymentReader,
    token: Callable[[], str] | None,
    log: Log,
    hosts: Sequence[str] | None = None,
) -> web.Application:
    """The whole interface; ``serving`` listens with it. ``hosts`` is the setting ``http.hosts``,
    ``token`` gives ``http.token`` as it is now."""

    async def show_health(_: web.Request) -> web.Response:
        status = HTTPStatus.OK if health.takes_work else HTTPStatus.SERVICE_UNAVAILABLE
        return json_answer({"version": __version__, **health.as_json()}, status)

    async def show_api_health(_: web.Request) -> web.Response:
        answers = health.is_up(READING_PART) and not health.draining
        status = HTTPStatus.OK if answers else HTTPStatus.SERVICE_UNAVAILABLE
        parts = health.as_json()["parts"]
        reading = {READING_PART: parts[READING_PART]} if READING_PART in parts else {}
        body = {"status": "ok" if answers else "unavailable", "draining": health.draining, "parts": reading}
        return json_answer({"version": __version__, **body}, status)

    async def live(_: web.Request) -> web.Response:
        return json_answer({"status": "ok"})

    async def metrics(_: web.Request) -> web.Response:
        text, content_type = meters.exposition(health)
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def instances(request: web.Request) -> web.Response:
        only_parameters(request, ())
        return json_answer({"instances": [each.as_json() for each in await reader.instances()]})

    deployments = Deployments(reader)
    app = web.Application(
        middlewares=[begun, errors_as_json(log), own_site_only(AcceptedHosts.of(hosts)), token_required(token)],
        client_max_size=SMALL,
    )
    app.router.add_get("/health", show_health)
    # HAProxy's `option httpchk /health`, without a method, asks with OPTIONS.
    app.router.add_route("OPTIONS", "/health", show_health)
    app.router.add_get("/health/api", show_api_health)
    app.router.add_route("OPTIONS", "/health/api", show_api_health)
    app.router.add_get("/health/live", live)
    app.router.add_get(METRICS, metrics)
    app.router.add_get("/api/v1/deployments", deployments.list_all)
    app.router.add_get("/api/v1/deployments/{id}", deployments.one)
    app.router.add_get("/api/v1/deployments/{id}/events", deployments.events)
    app.router.add_get("/api/v1/instances", instances)
    app.on_response_prepare.append(_say_who)
    app.on_shutdown.append(deployments.end_streams)
    return app


async def _say_who(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "vesemir"
    response.headers["X-Content-Type-Options"] = "nosniff"
