"""Answers of a Chef server and of its nodes: targets that can be used and recorded, or one failure of ours."""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import strategies as st
from tests.fuzz.examine import Area, Check
from tests.fuzz.mutation import nearly_json
from tests.fuzz.storable import assert_failure, assert_storable
from tests.unit.chef.test_chef_answers import WEB, node, write_key
from yarl import URL

from vesemir.adapters.chef import ChefInventory
from vesemir.adapters.chef.credentials import ChefCredentials, ChefIdentity
from vesemir.adapters.chef.inventory import _Cluster
from vesemir.adapters.chef.server import ChefServer, _Answer
from vesemir.domain.failure import FailedError
from vesemir.domain.login import refuse_address, refuse_port
from vesemir.engine.ports.observe import SilentLog
from vesemir.settings import ChefClusterSettings

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
_VARIABLES = {"attribute vesemir.variables": {"app_root": "/srv/app", "n": 1, "list": ["a", {"b": None}]}}
_ROWS = [
    node(
        "web1",
        **{"attribute ipaddress": "10.0.0.1", "attribute vesemir.port": 2222, "attribute vesemir.user": "u"},
        **_VARIABLES,
    ),
    node(
        "web2", **{"attribute ipaddress": "10.0.0.2"}, roles=["web"], recipes=["app::default"], environment="production"
    ),
]
SEEDS: list[Any] = [
    {"total": 2, "start": 0, "rows": [{"url": "x", "data": row} for row in _ROWS]},
    {"error": ["Failed to authenticate"]},
]
ANSWERS = st.tuples(
    st.sampled_from([200, 200, 200, 200, 301, 400, 401, 403, 404, 500, 999]),
    nearly_json(SEEDS),
    st.none()
    | st.sampled_from(["Fri, 27 Nov 2026 12:00:00 GMT", "", "Fri, 99 Nov 99999 12:00:00 +9999"])
    | st.text(max_size=20),
)


class _Answered(ChefServer):
    """A server that answers without a network."""

    answer = _Answer(200, "application/json", None, b"{}")

    async def _exchange(self, url: URL, body: bytes, headers: Mapping[str, str], identity: ChefIdentity) -> _Answer:
        del url, body, headers, identity
        return self.answer


async def _judge(server: _Answered, settings: ChefClusterSettings, given: tuple[int, bytes, str | None]) -> None:
    status, body, date = given
    server.answer = _Answer(status, "application/json", date, body)
    chef = ChefInventory({"lab": _Cluster("lab", settings, server)}, default="lab", warn=assert_storable)
    try:
        targets = await chef.resolve(WEB)
    except FailedError as error:
        assert_failure(error)
        return
    for target in targets:
        assert_storable(target)
        assert refuse_address(target.address) is None
        assert refuse_port(target.port) is None


@contextmanager
def opened() -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        key = generate_private_key(65537, 2048)
        settings = ChefClusterSettings.model_validate(
            {
                "url": "http://127.0.0.1:9",
                "client_name": "vesemir",
                "client_key": write_key(Path(folder) / "key.pem", key),
                "attempts": 1,
            }
        )
        server = runner.run(_made(settings))
        try:
            yield lambda given: runner.run(_judge(server, settings, given))
        finally:
            runner.run(server._session.close())


async def _made(settings: ChefClusterSettings) -> _Answered:
    """On the loop that its session belongs to."""
    credentials = ChefCredentials(settings, cluster="lab", log=SilentLog())
    session = aiohttp.ClientSession()
    return _Answered(settings, cluster="lab", credentials=credentials, session=session, clock=lambda: NOW)


CHEF = Area("chef", "any answer of a Chef server: targets, or one failure", ANSWERS, opened)
