"""Questions that come while one is under way are put together and asked next, in one statement or transaction.

A commit waits for the disk, and as long for fifty rows as for one. Who comes to the turn first asks for all who
wait; there is no task of its own that could be lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from vesemir.engine.ports.store import StoreAwayError, StoreBusyError

Question = TypeVar("Question")
Answer = TypeVar("Answer")

GROUP_LIMIT = 100


@dataclass(eq=False, slots=True)
class _WaitingQuestion(Generic[Question, Answer]):
    question: Question
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GroupedQuestions(Generic[Question, Answer]):
    """``together`` answers each of a group's questions, in their order, or raises for all of them.

    ``at_once``: how many groups may be under way; with more than one they may pass each other.
    """

    def __init__(
        self, together: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], *, at_once: int = 1
    ) -> None:
        self._together = together
        self._waiting: list[_WaitingQuestion[Question, Answer]] = []
        self._turn = asyncio.Semaphore(at_once)

    async def ask(self, question: Question) -> Answer:
        """In the order in which it was called. Raises what ``together`` raised."""
        asked: _WaitingQuestion[Question, Answer] = _WaitingQuestion(question)
        self._waiting.append(asked)
        await asyncio.sleep(0)  # the one that asks in the same turn of the loop asks along
        async with self._turn:
            if asked in self._waiting:
                group, self._waiting = self._waiting[:GROUP_LIMIT], self._waiting[GROUP_LIMIT:]
                await self._ask_all(group)
        return await asked.answer

    async def _ask_all(self, group: Sequence[_WaitingQuestion[Question, Answer]]) -> None:
        try:
            answers = await self._together([asked.question for asked in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to the one that asked
            for_all = isinstance(error, StoreAwayError) and not isinstance(error, StoreBusyError)
            if for_all or len(group) == 1:
                _fail(group, error)
                return
            for asked in group:  # one of them is to blame: the others are not to suffer for it
                await self._ask_all([asked])
        except BaseException:
            _fail(group, StoreAwayError("the write was given up"))
            raise
        else:
            for asked, answer in zip(group, answers, strict=True):
                asked.answer.set_result(answer)


def _fail(group: Sequence[_WaitingQuestion[Question, Answer]], error: Exception) -> None:
    for asked in group:
        if not asked.answer.done():
            asked.answer.set_exception(error)
            asked.answer.exception()  # retrieved: its caller may have been cancelled
