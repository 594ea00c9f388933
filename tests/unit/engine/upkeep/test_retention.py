"""The clean-up goes on until nothing is left, and nothing that it meets ends the service."""

import asyncio

import pytest
from tests.unit.engine.virtual_time import until
from tests.unit.engine.world import Lines

from vesemir.engine.ports.store import Cleaned, StoreAwayError
from vesemir.engine.upkeep.retention import RecordCleanup, Retention

KEPT = Retention(seconds=86400, rows=100, every=3600)
Answer = Cleaned | Exception | None


class Scripted:
    """Answers in turn, then that there is nothing to do."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[float, int]] = []

    async def clean_up(self, *, older_than_seconds: float, rows: int, keep_good: int) -> Cleaned | None:
        del keep_good
        self.asked.append((older_than_seconds, rows))
        answer = self.answers.pop(0) if self.answers else Cleaned(0, 0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_batch_after_batch_until_nothing_is_left() -> None:
    cleaner, log = Scripted(Cleaned(0, 100), Cleaned(0, 100), Cleaned(2, 40)), Lines()
    await RecordCleanup(cleaner, KEPT, log=log).clean(KEPT)
    assert cleaner.asked == [(86400, 100)] * 4
    assert log.of("info") == ["cleaned up 2 deployments, 240 rows in all"]


@pytest.mark.parametrize("answer", [None, StoreAwayError("away"), ZeroDivisionError("a bug")])
async def test_what_stops_it_stops_it_until_the_next_time(answer: Answer) -> None:
    cleaner, log = Scripted(answer), Lines()
    running = asyncio.create_task(RecordCleanup(cleaner, KEPT, log=log).run())
    await until(lambda: len(cleaner.asked) > 1)
    assert not running.done()
    assert asyncio.get_running_loop().time() >= KEPT.every
    assert log.of("exception") == (
        ["the clean-up met a bug; it is tried again later"] if isinstance(answer, ZeroDivisionError) else []
    )
    running.cancel()


async def test_without_a_retention_everything_stays() -> None:
    cleaner = Scripted()
    await RecordCleanup(cleaner, None, log=Lines()).run()
    assert cleaner.asked == []
