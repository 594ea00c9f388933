"""Every node is found over pages, though nodes come and go while they are read."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesemir.adapters.chef.paging import MOST_PASSES, Found, Page, read_all
from vesemir.domain.failure import FailedError, FailureCode

ROWS = 10


class Fleet:
    """A server with nodes in order, as goiardi pages them; ``on_ask`` may change them before each answer."""

    def __init__(self, size: int, *, on_ask: Callable[["Fleet", int], None] = lambda _fleet, _start: None) -> None:
        self.nodes = [f"n{number:04}" for number in range(size)]
        self.asked: list[int] = []
        self._on_ask = on_ask

    async def page(self, start: int) -> Page:
        self._on_ask(self, start)
        self.asked.append(start)
        if start > len(self.nodes):
            raise FailedError(FailureCode.TARGETS_INVENTORY_UNREACHABLE, "broke off")
        rows: dict[str, Any] = {name: {"name": name} for name in self.nodes[start : start + ROWS]}
        return Page(rows, sent=len(rows), total=len(rows))

    async def read(self) -> Found:
        return await read_all(self.page, rows=ROWS)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=45))
async def test_a_fleet_that_holds_still_is_found_completely(size: int) -> None:
    fleet = Fleet(size)
    found = await fleet.read()
    assert sorted(found.rows) == fleet.nodes
    assert found.settled


async def test_one_page_is_one_moment_and_read_once() -> None:
    fleet = Fleet(ROWS - 1)
    await fleet.read()
    assert fleet.asked == [0]


@settings(deadline=None)
@given(st.data())
async def test_nodes_deleted_and_added_between_pages_hide_no_other(data: st.DataObject) -> None:
    """Only while the first two passes run: then the fleet holds still.

    A node that is added while it is read is in no promise: a page that was read already does not show it.
    """
    changes = data.draw(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=6))

    def change(fleet: Fleet, _start: int) -> None:
        if changes:
            place, delete = changes.pop()
            if delete and fleet.nodes:
                fleet.nodes.pop(place % len(fleet.nodes))
            else:
                fleet.nodes = sorted([*fleet.nodes, f"m{len(changes)}"])

    fleet = Fleet(35, on_ask=change)
    there = set(fleet.nodes)
    found = await fleet.read()
    assert there & set(fleet.nodes) <= set(found.rows)


async def test_a_server_that_breaks_off_at_a_later_page_is_read_again() -> None:
    def shrink(fleet: Fleet, start: int) -> None:
        if start == 2 * ROWS and len(fleet.nodes) == 30:
            del fleet.nodes[:15]

    fleet = Fleet(30, on_ask=shrink)
    assert sorted((await fleet.read()).rows) == fleet.nodes


async def test_a_server_that_always_breaks_off_at_a_later_page_has_failed() -> None:
    def vanish(fleet: Fleet, start: int) -> None:
        fleet.nodes = [] if start else [f"n{number}" for number in range(ROWS)]

    fleet = Fleet(0, on_ask=vanish)
    with pytest.raises(FailedError, match="broke off"):
        await fleet.read()
    assert fleet.asked == [0, ROWS] * MOST_PASSES


async def test_a_fleet_that_never_holds_still_gives_all_of_the_last_two_passes_and_says_so() -> None:
    def churn(fleet: Fleet, start: int) -> None:
        if start:
            fleet.nodes = fleet.nodes[1:]

    fleet = Fleet(25, on_ask=churn)
    found = await fleet.read()
    assert not found.settled
    assert set(fleet.nodes) <= set(found.rows)


async def test_rows_that_are_in_the_index_but_gone_do_not_end_the_search() -> None:
    """The Chef Infra Server counts them in ``total`` and leaves them out: pages follow what was asked for."""
    asked: list[int] = []

    async def page(start: int) -> Page:
        asked.append(start)
        rows: dict[str, Any] = {f"n{number}": {} for number in range(start, min(start + ROWS, 25)) if number % 3}
        return Page(rows, sent=len(rows), total=25)

    found = await read_all(page, rows=ROWS)
    assert asked == [0, 10, 20, 0, 10, 20]
    assert len(found.rows) == 16


async def test_a_server_that_ignores_where_to_start_does_not_keep_us_for_ever() -> None:
    async def page(_start: int) -> Page:
        return Page({f"n{number}": {} for number in range(ROWS)}, sent=ROWS, total=ROWS)

    assert len((await read_all(page, rows=ROWS)).rows) == ROWS


async def test_a_refusal_at_a_later_page_is_told_at_once() -> None:
    async def page(start: int) -> Page:
        if start:
            raise FailedError(FailureCode.TARGETS_INVENTORY_DENIED, "no")
        return Page({f"n{number}": {} for number in range(ROWS)}, sent=ROWS, total=ROWS)

    with pytest.raises(FailedError) as caught:
        await read_all(page, rows=ROWS)
    assert caught.value.failure.code is FailureCode.TARGETS_INVENTORY_DENIED
