"""A real Prometheus watches two instances: what it scrapes, what the dashboard asks for, and alerts when provoked."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import yaml
from tests.acceptance.installed_lab import Lab
from tests.acceptance.pika_requester import Requester
from tests.acceptance.running_daemon import Daemon, running
from tests.alerting.dashboard import queries
from tests.alerting.documented import documented, exposed
from tests.alerting.prometheus import Prometheus, prometheus, promtool, scrape
from tests.alerting.provoking import PROVOKED, provoke
from tests.alerting.shortened import shortened_rules

pytestmark = pytest.mark.lab


@dataclass(frozen=True)
class Watched:
    daemons: list[Daemon]
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Two instances with room for one deployment each, scraped every second."""
    folder = tmp_path_factory.mktemp("watched")
    rules = folder / "rules.yml"
    rules.write_text(yaml.safe_dump(shortened_rules()))
    with ExitStack() as stack:
        own = {"VESEMIR_LIMITS__DEPLOYMENTS": "1"}
        daemons = [
            stack.enter_context(running(lab, folder, name, own, own_session=True))
            for name in ("watched-a", "watched-b")
        ]
        targets = [daemon.url.removeprefix("http://") for daemon in daemons]
        yield Watched(daemons, stack.enter_context(prometheus(folder, rules, targets)))


@pytest.mark.usefixtures("mended")
@pytest.mark.timeout(420)
def test_provoked_alerts_fire_and_every_query_of_the_dashboard_has_data(
    lab: Lab, requester: Requester, watched: Watched
) -> None:
    """With the rules' minutes as seconds; when the drained server is set ready by hand, its alert ends by itself."""
    fired = provoke(lab, requester, watched.daemons, watched.prometheus)

    assert set(PROVOKED) <= fired.keys()
    empty = [(title, query) for title, query in queries() if not watched.prometheus.query(query)]
    assert empty == []


def test_what_is_scraped_is_what_promtool_and_the_document_expect(watched: Watched) -> None:
    for daemon in watched.daemons:
        text = scrape(daemon.url)
        assert promtool("check", "metrics", given=text) == (0, "")
        assert exposed(text.decode()) == documented()
