"""A quick choice of the chaos suite: some faults once each. ``tox -e chaos`` runs all of them, repeated."""

from pathlib import Path

import pytest
from tests.chaos.catalogue import FAULTS
from tests.chaos.servers import lab_up
from tests.chaos.tallying import run_faults
from tests.chaos.verdict import Score

QUICK = ("2", "3", "5", "7", "8", "13", "20", "24", "29")


@pytest.mark.lab
@pytest.mark.chaos
@pytest.mark.timeout(400)
async def test_nothing_is_lost_run_again_or_run_twice_at_once(tmp_path: Path) -> None:
    """An event that was acknowledged is never lost, a target that finished is never run again, nothing overlaps."""
    told: list[Score] = []
    faults = [fault for fault in FAULTS if fault.number in QUICK]
    async with lab_up(tmp_path / "lab", boxes=5) as lab:
        scores = await run_faults(lab, faults, tries=1, side_by_side=5, tell=told.append)

    assert {score.fault for score in scores} == set(QUICK)
    assert [score for score in scores if score.broken] == []
