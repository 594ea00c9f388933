"""When a lock ends, as a person types it; and a deployment whose lane is locked, in a sentence."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.unit.cli.test_headline import view

from vesemir.cli.complaint import UsageError
from vesemir.cli.headline import headline
from vesemir.cli.lanes import end_of
from vesemir.engine.ports.views import LockedLaneView

NOW = datetime(2026, 11, 28, 6, 30, tzinfo=UTC)
LOCK = LockedLaneView("shop/production", "2026-11-28T06:00:00Z", None, "the database moves", "anna", "amqp:anna", None)


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ("90m", "2026-11-28T08:00:00Z"),
        ("4h", "2026-11-28T10:30:00Z"),
        ("2d", "2026-11-30T06:30:00Z"),
        ("2026-11-30", "2026-11-30T00:00:00Z"),
        ("2026-11-30T08:00", "2026-11-30T08:00:00Z"),
        ("2026-11-30T08:00:00+01:00", "2026-11-30T07:00:00Z"),
    ],
)
def test_an_end_is_a_time_or_how_long_from_now(given: str, end: str) -> None:
    assert end_of(given, now=NOW) == end


@pytest.mark.parametrize("given", ["", "later", "0h", "2026-02-31", "2026-11-28T06:30", "2026-11-27", "999999w"])
def test_anything_else_is_a_wrong_use(given: str) -> None:
    with pytest.raises(UsageError, match="--until"):
        end_of(given, now=NOW)


def test_what_a_lock_holds_up_says_so() -> None:
    said = headline(replace(view("pending"), lock=LOCK))
    assert said.endswith(
        "has not begun: shop/production is locked by anna (amqp:anna) since 2026-11-28T06:00:00Z, until somebody "
        "unlocks it: the database moves."
    )
    by_rule = replace(LOCK, deployment_id="d0", until="2026-11-29T00:00:00Z")
    assert "locked by Vesemir after d0 since" in headline(replace(view("pending"), lock=by_rule))


def test_what_may_go_past_it_waits_for_something_else() -> None:
    past = replace(view("pending"), lock=LOCK, request={"break_glass": {"reason": "fire"}})
    assert headline(past).endswith("it waits for an instance that is free.")
    assert "locked" not in headline(replace(view("pending"), lock=LOCK, dry_run=True))
