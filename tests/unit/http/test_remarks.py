"""What clients do wrong is counted, not written down each time."""

import asyncio

from tests.unit.engine.world import Lines

from vesemir.adapters.http.remarks import CountedRemarks


class Heard(Lines):
    """``twice`` is set with the second warning."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = asyncio.Event()

    def warning(self, message: str, **fields: object) -> None:
        super().warning(message, **fields)
        if len(self.of("warning")) > 1:
            self.twice.set()


async def test_the_first_is_a_line_and_the_rest_is_a_count() -> None:
    log = Lines()
    remarks = CountedRemarks(log, every=60)
    for number in range(10_000):
        remarks.note("a request is not valid HTTP", f"192.0.2.{number % 100}")
    remarks.note("something else", "")
    assert log.of("warning") == [
        "HTTP: a request is not valid HTTP (from 192.0.2.0)",
        "HTTP: something else (from an unknown address)",
    ]
    remarks.close()
    assert log.of("warning")[2:] == [
        "HTTP: a request is not valid HTTP (9999 times more within 60 s, the last from 192.0.2.99)"
    ]


async def test_after_a_while_the_count_is_said_and_begins_again() -> None:
    log = Heard()
    remarks = CountedRemarks(log, every=0.01)
    remarks.note("x", "192.0.2.1")
    remarks.note("x", "192.0.2.2")
    async with asyncio.timeout(5):
        await log.twice.wait()
    remarks.note("x", "192.0.2.3")
    remarks.close()
    assert [line.partition("(")[2] for line in log.of("warning")] == [
        "from 192.0.2.1)",
        "1 times more within 0 s, the last from 192.0.2.2)",
        "1 times more within 0 s, the last from 192.0.2.3)",
    ]
