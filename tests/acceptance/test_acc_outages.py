"""The broker and the database stop and start again while the daemon idles."""

from collections.abc import Callable

import pytest
from tests.acceptance.installed_lab import Lab
from tests.acceptance.lab_servers import stopped
from tests.acceptance.pika_requester import Requester
from tests.acceptance.running_daemon import Daemon

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(("server", "part"), [("postgres", "database"), ("rabbitmq", "broker")])
def test_an_outage_is_told_and_survived(lab: Lab, instance: Daemon, server: str, part: str) -> None:
    """503 meanwhile, alive all the time, 200 after it, and the next event is carried out by the same process."""
    with stopped(lab, server):
        instance.wait_until_unhealthy(part)
        assert instance.alive()
    instance.wait_until_healthy()
    with Requester(lab["amqp_url"]) as requester:
        assert requester.deploy(lab.script("true", "web1"))["status"] == "succeeded"


def test_a_start_while_the_database_is_away_waits_for_it(lab: Lab, daemon: Callable[..., Daemon]) -> None:
    """It says 503 and does not exit."""
    with stopped(lab, "postgres"):
        instance = daemon("early", healthy=False)
        instance.wait_until_unhealthy("database")
    instance.wait_until_healthy()
