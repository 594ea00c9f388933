"""Which delivery limit counts, and that ``vesemir check`` asks a management API for it or says that it cannot tell."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from vesemir.adapters.amqp.management import DeliveryLimit, delivery_limits, effective_limit
from vesemir.domain.failure import VesemirError
from vesemir.settings import AmqpSettings

NONE = {"arguments": {"x-queue-type": "quorum"}, "effective_policy_definition": {}}


def shown(policy: int | None, argument: int | None) -> dict[str, Any]:
    rules = {} if policy is None else {"delivery-limit": policy}
    arguments = {"x-queue-type": "quorum"} | ({} if argument is None else {"x-delivery-limit": argument})
    return {"arguments": arguments, "effective_policy_definition": rules, "policy": "ours", "operator_policy": "theirs"}


@pytest.mark.parametrize(
    ("version", "policy", "argument", "limit"),
    [
        ("3.10.8", None, None, None),
        ("4.0.5", None, None, 20),
        ("4.2.0-rc.1", None, None, 20),
        ("", None, None, None),
        ("4.0.5", 100_000, None, 100_000),
        ("4.0.5", None, 7, 7),
        ("3.13.7", 100_000, 7, 7),
        ("4.0.5", 5, 7, 5),
        ("4.0.5", -1, None, None),
        ("4.0.5", -1, 7, 7),
    ],
)
def test_the_lower_one_counts_then_the_default(
    version: str, policy: int | None, argument: int | None, limit: int | None
) -> None:
    assert effective_limit("q", shown(policy, argument), version=version).limit == limit


def test_what_is_low_and_what_sets_it_is_said() -> None:
    by_default = effective_limit("q", NONE, version="4.0.5")
    assert (by_default.is_low, str(by_default)) == (True, "q has delivery limit 20 (RabbitMQ 4.0.5's default)")
    by_policy = effective_limit("q", shown(100_000, None), version="4.0.5")
    assert (by_policy.is_low, str(by_policy)) == (False, "q has delivery limit 100000 (policy ours, theirs)")
    assert str(effective_limit("q", NONE, version="3.10.8")) == "q has no delivery limit (RabbitMQ 3.10.8's default)"


class ManagementApi(BaseHTTPRequestHandler):
    """Of RabbitMQ 4 with one queue; ``asked`` has the paths, and who logged in."""

    asked: list[tuple[str, str | None]]
    answers: dict[str, Any]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        body = json.dumps(self.answers.get(self.path, {})).encode()
        self.send_response(200 if self.path in self.answers else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the class it overrides
        pass


@pytest.fixture
def api() -> Iterator[tuple[str, type[ManagementApi]]]:
    """Its address, and the handler."""

    class Own(ManagementApi):
        asked: list[tuple[str, str | None]] = []  # noqa: RUF012 - one for this server
        answers: dict[str, Any] = {  # noqa: RUF012
            "/api/overview": {"rabbitmq_version": "4.0.5"},
            "/api/queues/deploys/vesemir.deployments": NONE,
        }

    server = HTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", Own
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_api_is_asked_with_the_user_of_amqp_unless_another_is_named(api: tuple[str, type[ManagementApi]]) -> None:
    address, handler = api
    broker = "amqp://daemon:s%2Fcret@127.0.0.1:5672/deploys"
    found = [
        list(delivery_limits(AmqpSettings(url=broker, management_url=url)))
        for url in (f"http://{address}", f"http://watcher:other@{address}/")
    ]
    expected = [DeliveryLimit("vesemir.deployments", 20, "RabbitMQ 4.0.5's default")]
    assert found == [expected, expected], "a queue that is not there has no limit yet"
    users = {who for _, who in handler.asked}
    assert users == {"Basic ZGFlbW9uOnMvY3JldA==", "Basic d2F0Y2hlcjpvdGhlcg=="}


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://127.0.0.1:1", "does not answer"), ("127.0.0.1:15672", "is not a URL"), ("ftp://host", "is not a URL")],
)
def test_what_is_wrong_with_it_is_said(url: str, said: str) -> None:
    with pytest.raises(VesemirError, match=said):
        list(delivery_limits(AmqpSettings(management_url=url)))
