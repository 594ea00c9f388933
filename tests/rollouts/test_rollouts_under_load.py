"""A choice of the rollouts under load; ``python -m tests.rollouts`` does all of them."""

from collections.abc import Iterator

import pytest
from tests.acceptance.installed_lab import Lab, vesemir
from tests.acceptance.running_daemon import running
from tests.rollouts.arena import Cell, roll_out

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

BOXES = 6


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("rollouts")
    try:
        vesemir("lab", "up", "--dir", str(folder / "lab"), "--boxes", str(BOXES), "--balancers", "2", "--detach")
        lab = Lab(folder / "lab")
        with running(lab, folder, "rollouts", {}):
            yield lab
    finally:
        vesemir("lab", "down", "--dir", str(folder / "lab"))


@pytest.mark.parametrize(
    "cell",
    [
        Cell("50%", balancers=1, reloads=1, weights=(10,)),
        Cell(3, balancers=2, reloads=1, weights=(50,)),
    ],
    ids=["one HAProxy", "two HAProxies"],
)
async def test_no_request_fails_while_releases_change_and_haproxy_is_reloaded(lab: Lab, cell: Cell) -> None:
    """Slow requests are in flight all the while; clients do not ask again."""
    outcome = await roll_out(lab, cell)
    assert not outcome.complaints(BOXES)
    assert outcome.seen.requests["slow"] > 10
    assert outcome.seen.total > 1000
    assert outcome.most_out > 1, "nothing was seen to be out: the watch does not see anything"


def test_a_reload_is_asked_for_by_name(lab: Lab) -> None:
    """``vesemir lab reload`` says which one it was, and refuses what there is not."""
    assert vesemir("lab", "reload", "--dir", str(lab.folder), "--balancer", "lb2") == "HAProxy of lb2 was reloaded.\n"
    with pytest.raises(AssertionError, match="no load balancer 'lb3'; it has lb1, lb2"):
        vesemir("lab", "reload", "--dir", str(lab.folder), "--balancer", "lb3")
