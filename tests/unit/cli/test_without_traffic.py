"""A target that gets no traffic is named, with who took it out, when, and what is known of it now."""

from typing import Any

import pytest
from rich.console import Console
from tests.fakes.views import a_drained_view, a_target_view, a_view

from vesemir.cli.headline import headline
from vesemir.cli.status import view_parts
from vesemir.cli.without_traffic import FRESH_SECONDS, back_of_each, known_now, out_of_each
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.traffic_prior import LEFT_DRAINED
from vesemir.engine.ports.views import DeploymentView, FailureView, TargetView

ENDED = "2026-11-23T12:00:20.000000Z"


def prior(admin: str) -> dict[str, Any]:
    box = {"admin": admin, "user_weight": 9, "configured_weight": 9, "agent": False, "up": True, "process_id": 1}
    return {"server": "web1", "boxes": {"lb1": box}}


def target(name: str = "web1", status: str = "succeeded", *, admin: str = "ready", **changes: Any) -> TargetView:
    changes = {"touched": status != "skipped", "traffic": prior(admin), "in_traffic": True, **changes}
    return a_target_view(name, TargetState(status), **changes)


def view(*targets: TargetView, state: DeploymentState = DeploymentState.SUCCEEDED, **changes: Any) -> DeploymentView:
    return a_view(**{"version": "2.1.0", "state": state, "targets": targets, "finished_at": ENDED, **changes})


SERVES = [target(f"web{number}") for number in (1, 3, 5)]
OUT = target("web2", admin="drain", in_traffic=False)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([*SERVES, OUT, target("web4", admin="maint", in_traffic=False)],
         "is out: 3 of 5 targets serve it, 2 have it but get no traffic (web2, web4), after 12 s."),
        (SERVES[:1], "is out: 1 of 1 target serves it, after 12 s."),
        ([OUT], "is installed, but not out: 0 of 1 target serves it, 1 has it but gets no traffic (web2), after 12 s."),
        ([target(in_traffic=None)], "is out: 1 of 1 target has it, after 12 s."),
        ([*SERVES[:1], target("web2", in_traffic=None)],
         "is out: 1 of 2 targets serve it, 1 has it, traffic not known, after 12 s."),
    ],
)  # fmt: skip
def test_only_what_serves_counts(targets: list[TargetView], said: str) -> None:
    assert headline(view(*targets)) == f"2.1.0 of shop in production {said}"


LEFT = target(status="failed", in_traffic=False, left_drained=a_drained_view("web1"))
BY_THIS = "left drained by this deployment at 2026-11-23 12:00:10 UTC, because"
AT_END = "so when it ended, not known since 2026-11-23 12:00:20 UTC"


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (LEFT, f"{BY_THIS} it failed there; still drained 12 s ago (seen by a/1)"),
        (target(status="cancelled", in_traffic=False, left_drained=a_drained_view("web1", seen_by=None, seen_at=None)),
         f"{BY_THIS} it was cancelled there; left so 12 s ago"),
        (target(in_traffic=False, admin="drain", left_drained=a_drained_view("web1", "d0")),
         "left drained by an earlier deployment, d0, at 2026-11-23 12:00:10 UTC; still drained 12 s ago (seen by a/1)"),
        (target(left_drained=a_drained_view("web1", "d7", since="2026-11-24T00:00:00.000000Z")),
         "left drained by a later deployment, d7, at 2026-11-24 00:00:00 UTC; still drained 12 s ago (seen by a/1)"),
        (OUT, f"somebody else took it out before this deployment (drain on lb1); {AT_END}"),
        (target(status="skipped", traffic=None, in_traffic=False),
         f"out, not UP or unknown in HAProxy, and not by this deployment; {AT_END}"),
        (target(in_traffic=False), f"ready, but not UP in HAProxy or without weight; {AT_END}"),
    ],
)  # fmt: skip
def test_who_took_it_out_and_when(shown: TargetView, said: str) -> None:
    assert list(out_of_each(view(shown), [shown])) == [(shown.name, said)]


def test_while_the_deployment_goes_on_it_was_so_when_the_target_ended() -> None:
    (told,) = out_of_each(view(OUT, state=DeploymentState.RUNNING, finished_at=None), [OUT])
    assert told[1].endswith("(drain on lb1); so when the target ended")


def test_those_with_the_same_words_are_told_together_and_those_that_serve_not_at_all() -> None:
    names = [names for names, _ in out_of_each(view(), [*SERVES, OUT, target("web4", admin="drain", in_traffic=False)])]
    assert names == ["web2, web4"]


@pytest.mark.parametrize(
    ("moment", "said"),
    [("2026-11-23T13:00:00.000000Z", "seen back in traffic at 2026-11-23 13:00:00 UTC"), (None, "put back since")],
)
def test_one_that_was_put_back_is_out_no_more(moment: str | None, said: str) -> None:
    """Release 0.1 takes the row away and leaves no moment."""
    told = FailureView("step.failed", f"no; its server web1 {LEFT_DRAINED} lb1", "docs/runbook.md#step-failed")
    back = target(status="failed", in_traffic=False, back_in_traffic_at=moment, failure=told)
    assert list(out_of_each(view(back), [back])) == []
    assert list(back_of_each([back])) == [("web1", said)]


def test_one_that_regressed_was_left_ready_and_is_out_all_the_same() -> None:
    told = FailureView("health.failed", "web1 is DOWN; it is left ready", "docs/runbook.md#health-failed")
    regressed = target(status="failed", in_traffic=False, failure=told)
    assert list(out_of_each(view(regressed), [regressed])) == [
        ("web1", f"ready, but not UP in HAProxy or without weight; {AT_END}")
    ]
    assert list(back_of_each([regressed])) == []


def test_what_is_older_than_some_looks_is_not_known() -> None:
    old = a_drained_view("web1", known_seconds_ago=FRESH_SECONDS + 1)
    assert known_now(old) == "not known since 2026-11-23 12:05:00 UTC: no instance could look since"
    unseen = a_drained_view("web1", known_seconds_ago=FRESH_SECONDS + 1, seen_at=None, seen_by=None)
    assert known_now(unseen) == "not known since 2026-11-23 12:00:10 UTC: no instance has looked since"


def test_status_names_it_before_everything_else() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(*view_parts(view(SERVES[0], OUT)), sep="\n")
    lines = captured.get().splitlines()
    assert lines[0].startswith("2.1.0 of shop in production is out: 1 of 2 targets serve it, 1 has it but gets")
    assert lines[2].startswith("No traffic on web2: somebody else took it out before this deployment")
    (head, *rows) = (line.split() for line in lines if line.startswith(("batch", "1  ")))
    assert head[-2:] == ["traffic", "failure"]
    assert [row[-1] for row in rows] == ["yes", "no"]


def test_without_haproxy_there_is_no_column_for_it() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(*view_parts(view(target(in_traffic=None, traffic=None))), sep="\n")
    assert "traffic" not in captured.get()
