"""All rows of a search that comes in pages, though nodes come and go while it is read.

A page is "so many from the N-th on". A node deleted from a page already read moves the others up, and one of them slips
through. No server tells of it: the Chef Infra Server's ``total`` is the index's, which lags, and goiardi's is the
page's. So more than one page is read again until two passes find the same; a fleet that never holds still gives all
that its last two passes found, since a node too many fails by itself and one too few would go unnoticed.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vesemir.domain.failure import FailedError, FailureCode

MOST_PASSES = 5
MOST_NODES = 100_000
"""Of one search: a server that never comes to an end must not fill the memory."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: nodes by name; how many the server sent, and says that there are."""

    rows: Mapping[str, Row]
    sent: int
    total: int


@dataclass(frozen=True, slots=True)
class Found:
    """``settled`` False: no two passes found the same."""

    rows: Mapping[str, Row]
    settled: bool


async def read_all(page_from: Callable[[int], Awaitable[Page]], *, rows: int) -> Found:
    """``page_from`` reads up to ``rows`` rows from a number on. Raises ``FailedError``."""
    before: Mapping[str, Row] | None = None
    merged: Mapping[str, Row] = {}
    for number in range(1, MOST_PASSES + 1):
        try:
            found, pages = await _one_pass(page_from, rows=rows)
        except _CutShortError as error:
            if number == MOST_PASSES:
                raise error.failed from error
            continue
        if pages == 1 or (before is not None and before.keys() == found.keys()):
            return Found(found, settled=True)
        before, merged = found, {**(before or {}), **found}
    return Found(merged, settled=False)


class _CutShortError(Exception):
    """A page after the first did not come."""

    def __init__(self, failed: FailedError) -> None:
        super().__init__(str(failed))
        self.failed = failed


async def _one_pass(page_from: Callable[[int], Awaitable[Page]], *, rows: int) -> tuple[dict[str, Row], int]:
    """The rows by name, and in how many pages they came."""
    found: dict[str, Row] = {}
    start = pages = 0
    while True:
        try:
            page = await page_from(start)
        except FailedError as error:
            # goiardi breaks off when so many nodes were deleted that none is left from there on.
            if start > 0 and error.failure.code is FailureCode.TARGETS_INVENTORY_UNREACHABLE:
                raise _CutShortError(error) from error
            raise
        known = len(found)
        found |= page.rows
        if len(found) > MOST_NODES:
            text = f"the Chef server sends more than {MOST_NODES} nodes for one search; narrow it"
            raise FailedError(FailureCode.TARGETS_INVALID_ATTRIBUTES, text)
        pages += 1
        # By the rows asked for: the Chef Infra Server leaves out those that are in its index but no longer there.
        start += rows
        is_last = page.sent < rows and start >= page.total
        brought_nothing = page.sent > 0 and len(found) == known
        if is_last or brought_nothing:
            return found, pages
