"""Questions put together: in order, each with its own answer, and one bad one harms no other."""

import asyncio
from collections.abc import Sequence

import pytest

from vesemir.adapters.postgres.grouping import GROUP_LIMIT, GroupedQuestions
from vesemir.engine.ports.store import StoreAwayError


class Slow:
    """Answers with the question's double, when it is let go; remembers the groups."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self.bad = -1

    async def together(self, group: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(group))
        self.asked.set()
        await self.go.wait()
        if self.bad in group:
            raise ValueError("thirteen")
        return [2 * question for question in group]


async def test_what_comes_meanwhile_is_one_group() -> None:
    slow = Slow()
    grouping = GroupedQuestions(slow.together)
    first = asyncio.create_task(grouping.ask(0))
    await slow.asked.wait()
    asking = asyncio.gather(*(grouping.ask(number) for number in range(1, GROUP_LIMIT + 5)))
    await asyncio.sleep(0)
    slow.go.set()
    assert await first == 0
    assert await asking == [2 * number for number in range(1, GROUP_LIMIT + 5)]
    assert [len(group) for group in slow.groups] == [1, GROUP_LIMIT, 4]
    assert [number for group in slow.groups for number in group] == list(range(GROUP_LIMIT + 5))


async def test_what_is_asked_in_one_turn_of_the_loop_is_one_group() -> None:
    slow = Slow()
    slow.go.set()
    grouping = GroupedQuestions(slow.together, at_once=2)
    assert await asyncio.gather(*(grouping.ask(number) for number in (1, 2, 3))) == [2, 4, 6]
    assert slow.groups == [[1, 2, 3]]


async def test_one_bad_question_harms_no_other() -> None:
    slow = Slow()
    slow.bad = 13
    slow.go.set()
    grouping = GroupedQuestions(slow.together)
    answers = await asyncio.gather(*(grouping.ask(number) for number in (12, 13, 14)), return_exceptions=True)
    assert answers[0] == 24
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 28


async def test_an_answer_in_doubt_is_in_doubt_for_all() -> None:
    """And is not asked again one by one, as after a bad question."""
    groups = []

    async def away(group: Sequence[int]) -> Sequence[int]:
        groups.append(len(group))
        raise StoreAwayError("no answer")

    grouping = GroupedQuestions(away)
    answers = await asyncio.gather(*(grouping.ask(number) for number in range(3)), return_exceptions=True)
    assert all(isinstance(answer, StoreAwayError) for answer in answers)
    assert sum(groups) == 3


async def test_whoever_asks_for_others_may_be_cancelled() -> None:
    """The others are told that it is in doubt, and nobody waits for ever."""
    slow = Slow()
    grouping = GroupedQuestions(slow.together)
    first = asyncio.create_task(grouping.ask(1))
    await slow.asked.wait()
    second, third = (asyncio.create_task(grouping.ask(number)) for number in (2, 3))
    await asyncio.sleep(0)
    held, slow.go = slow.go, asyncio.Event()
    slow.asked.clear()
    held.set()
    assert await first == 2
    await slow.asked.wait()
    assert slow.groups[1] == [2, 3]
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    with pytest.raises(StoreAwayError):
        await third
    slow.go.set()
    assert await grouping.ask(4) == 8
