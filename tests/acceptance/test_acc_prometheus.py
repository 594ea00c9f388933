"""A real Prometheus watches two instances: what it scrapes, what the dashboard asks for, and alerts when provoked."""

from collections.abc import Iterator

import pytest
from tests.acceptance.installed_lab import Lab
from tests.acceptance.pika_requester import Requester
from tests.alerting.dashboard import queries
from tests.alerting.documented import documented, exposed
from tests.alerting.prometheus import promtool, scrape
from tests.alerting.provoking import PROVOKED, provoke
from tests.alerting.watching import Watched, watched_lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def watched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched_lab(lab, tmp_path_factory.mktemp("watched")) as started:
        yield started


@pytest.mark.usefixtures("mended")
@pytest.mark.timeout(420)
def test_provoked_alerts_fire_and_every_query_of_the_dashboard_has_data(
    lab: Lab, requester: Requester, watched: Watched
) -> None:
    """With the rules' minutes as seconds; when the drained server is set ready by hand, its alert ends by itself."""
    fired = provoke(lab, requester, watched.daemons, watched.prometheus)

    assert set(PROVOKED) <= fired
    empty = [(title, query) for title, query in queries() if not watched.prometheus.query(query)]
    assert empty == []


def test_what_is_scraped_is_what_promtool_and_the_document_expect(lab: Lab, watched: Watched) -> None:
    expected = documented()
    if not lab["chef"]:  # Debian 13 has no goiardi
        expected["vesemir_part_up"][1]["part"].discard("chef")
    expected["vesemir_part_up"][1]["part"].discard("tls")  # a lab's instances speak plain HTTP, on loopback
    for daemon in watched.daemons:
        text = scrape(daemon.url)
        assert promtool("check", "metrics", given=text) == (0, "")
        assert exposed(text.decode()) == expected
