"""Is my release out, and if not, why: one sentence for every state that a deployment can be in."""

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from tests.fakes.views import a_target_view, a_view

from vesemir.cli.headline import headline, last_of_each
from vesemir.cli.status import view_parts
from vesemir.domain.identity import Identity
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction
from vesemir.domain.wish import Wish
from vesemir.engine.ports.views import DeploymentView, PredecessorView, TargetView


def target(name: str, status: str, *, direction: str = "forward") -> TargetView:
    return a_target_view(name, TargetState(status), direction=Direction(direction))


def view(state: str, *targets: TargetView, **changes: Any) -> DeploymentView:
    return a_view(
        **{"deployment_id": "d2", "version": "2.0.0", "state": DeploymentState(state), "targets": targets, **changes}
    )


BEFORE = PredecessorView(
    deployment_id="d1",
    version="1.0.0",
    state=DeploymentState.ROLLING_BACK,
    dry_run=False,
    requested_by="ann",
    identity="amqp:ci",
    accepted_at="2026-11-23T12:00:00.000000Z",
)
REHEARSAL = replace(BEFORE, dry_run=True)
OUT = target("web1", "succeeded")
APPROVAL = {"request": {"rollout": {"approve_after": "canary"}}, "awaits_approval": True}


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (view("pending"), "has not begun: it waits for an instance that is free."),
        (
            view("pending", not_before="2026-11-28T22:00:00.000000Z", due=False),
            "has not begun: not before 2026-11-28 22:00:00.",
        ),
        (
            view("pending", waits_for=(REHEARSAL,)),
            (
                "has not begun: it waits behind d1 (1.0.0, dry run: rolling back, asked for by ann (amqp:ci)), since "
                "one deployment at a time is active in shop/production."
            ),
        ),
        (
            view("pending", waits_for=(BEFORE, BEFORE)),
            (
                "has not begun: it waits behind d1 (1.0.0, rolling back, asked for by ann (amqp:ci)) and 1 more, since "
                "one deployment at a time is active in shop/production."
            ),
        ),
        (
            view("running", OUT, target("web2", "running"), target("web3", "pending")),
            "is on its way: 1 of 3 targets have it, 1 in work (web2), 1 to come.",
        ),
        (
            view("running", OUT, lease_expired=True),
            (
                "is on its way: 1 of 1 target has it; a/1 has not been heard of, and another instance takes it over "
                "(if one runs)."
            ),
        ),
        (
            view("running", OUT, owner=None),
            "is on its way: 1 of 1 target has it; its instance gave it back and another takes it over.",
        ),
        (
            view("paused", OUT, pause=Wish("ann", "lunch")),
            "is paused: 1 of 1 target has it. Asked for by ann: lunch.",
        ),
        (
            view("paused", OUT, pause=Wish("ann", "lunch", Identity("amqp", "on-call"))),
            "is paused: 1 of 1 target has it. Asked for by ann (amqp:on-call): lunch.",
        ),
        (
            view("paused", OUT, **APPROVAL),
            "is paused: 1 of 1 target has it. It waits for an approval (rollout.approve_after canary).",
        ),
        (
            view("rolling_back", target("web1", "succeeded"), target("web1", "running", direction="back")),
            "is being rolled back: 0 of 1 target has it, 1 in work (web1).",
        ),
        (view("succeeded", OUT), "is out: 1 of 1 target has it, after 12 s."),
        (
            view("failed", OUT, target("web2", "unreachable"), target("web3", "skipped")),
            "is not out: 1 of 3 targets have it, 1 unreachable (web2), 1 untouched.",
        ),
        (view("failed"), "is not out: no target was begun."),
        (
            view("timed_out", target("web1", "timed_out")),
            "is not out, it ran out of time: 0 of 1 target has it, 1 timed out (web1).",
        ),
        (view("cancelled"), "is not out, it was cancelled: no target was begun."),
        (
            view(
                "rolled_back",
                target("web1", "succeeded"),
                target("web2", "failed"),
                target("web1", "rolled_back", direction="back"),
                target("web2", "rolled_back", direction="back"),
            ),
            "is not out: it was rolled back, and 2 targets got the earlier release again.",
        ),
    ],
)
def test_it_says_where_the_release_is(shown: DeploymentView, said: str) -> None:
    assert headline(shown) == f"2.0.0 of shop in production {said}"


@pytest.mark.parametrize("state", list(DeploymentState))
def test_no_state_is_without_words(state: DeploymentState) -> None:
    assert headline(view(state.value, OUT)).startswith("2.0.0 of shop in production ")
    assert "dry run" in headline(view(state.value, OUT, dry_run=True, request={"dry_run": True}))


def test_many_names_are_counted_only() -> None:
    failed = [target(f"web{number}", "failed") for number in range(5)]
    assert headline(view("failed", *failed)).endswith("is not out: 0 of 5 targets have it, 5 failed.")


def test_a_target_counts_as_it_ended_on_the_way_back() -> None:
    rows = [
        target("web1", "succeeded"),
        target("web2", "succeeded"),
        target("web1", "failed", direction="back"),
        target("web2", "skipped", direction="back"),
    ]
    assert [(row.name, row.status) for row in last_of_each(rows)] == [("web1", "failed"), ("web2", "succeeded")]


def test_run_by_tells_an_instance_that_is_waited_for_from_a_lane_that_is_not_free() -> None:
    """Both were "nobody now: it waits for an instance that is free"."""
    free = view("pending", owner=None)
    waiting = replace(free, waits_for=(BEFORE,))
    shown = []
    for each in (free, waiting):
        console = Console(width=200)
        with console.capture() as captured:
            console.print(*view_parts(each), sep="\n")
        shown.append(captured.get())
    assert "no instance yet: it waits for one that is free" in shown[0]
    assert "no instance yet: it waits in its lane, for what is before it" in shown[1]
