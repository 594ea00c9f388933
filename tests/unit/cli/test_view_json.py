"""What ``--json`` and the HTTP interface show keeps its fields and their order."""

import json

import pytest
from tests.fakes.views import a_drained_view, a_step_view, a_summary, a_target_view, a_view

from vesemir.domain.identity import Identity
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.wish import Wish
from vesemir.engine.ports.views import (
    BalancerView,
    DestinationView,
    FailureView,
    PredecessorView,
    UnfinishedView,
    View,
)

SUMMARY = (
    "deployment_id application environment version recipe team requested_by identity state dry_run owner failure "
    "accepted_at started_at finished_at duration_seconds"
)
MORE = (
    "user_id request metrics last_owner epoch lease_expires_at lease_expired awaits_approval paused_for_seconds "
    "expiries takeovers cancel pause approvals queued_seconds resolve_seconds steps_total balancers last_sequence "
    "waits_for targets destinations doing lock"
)
TARGET = (
    "name direction address port user source batch status finished touched failure traffic duration_seconds "
    "connect_seconds in_traffic back_in_traffic_at left_drained"
)
STEP = (
    "step_id target direction step attempt status exit_status duration_seconds output_bytes output_truncated redone "
    "recorded_at output"
)
DESTINATION = "reply_to correlation_id delivered due failing_since next_attempt_at reason parked_at"
MOMENT = "2026-11-23T12:00:00.000000Z"
FAILURE = FailureView("step.failed", "no", "docs/runbook.md#step-failed")
BEFORE = PredecessorView(
    deployment_id="d0",
    version="1.0.0",
    state=DeploymentState.PAUSED,
    dry_run=False,
    requested_by=None,
    identity=None,
    accepted_at=MOMENT,
)
UNFINISHED = UnfinishedView(
    **{name: getattr(a_summary(), name) for name in SUMMARY.split()},
    before_it=1,
    targets_total=2,
    targets_done=0,
    targets_failed=0,
)


@pytest.mark.parametrize(
    ("view", "names"),
    [
        (a_summary(), SUMMARY),
        (UNFINISHED, f"{SUMMARY} before_it targets_total targets_done targets_failed not_before due"),
        (a_view(), f"{SUMMARY} {MORE} not_before not_after due"),
        (a_target_view("web1", TargetState.FAILED), TARGET),
        (FAILURE, "code message runbook"),
        (BEFORE, "deployment_id version state dry_run requested_by identity accepted_at"),
        (BalancerView("lb1", None), "name socket"),
        (DestinationView("answers", None, 2, 0, None, None, None, None), DESTINATION),
        (a_drained_view("web1"), "lane target deployment_id since seen_at seen_by known_seconds_ago"),
        (a_step_view(1, "web1"), STEP),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, View) else "",
)
def test_a_view_is_shown_field_for_field(view: View, names: str) -> None:
    assert list(view.as_json()) == names.split()
    assert json.loads(json.dumps(view.as_json())) == view.as_json(), "plain JSON through and through"


def test_what_is_in_a_view_is_shown_as_plain_json_too() -> None:
    view = a_view(
        failure=FAILURE,
        pause=Wish("ann", "lunch", Identity("amqp", "bot")),
        waits_for=(BEFORE,),
        targets=(a_target_view("web1", TargetState.TIMED_OUT),),
    )
    shown = view.as_json()
    assert (shown["state"], shown["failure"]["code"]) == ("running", "step.failed")
    assert list(shown["pause"].items()) == [
        ("reason", "lunch"),
        ("identity", "amqp:bot"),
        ("requested_by", "ann"),
    ]
    assert shown["waits_for"][0]["state"] == "paused"
    assert (shown["targets"][0]["status"], shown["targets"][0]["direction"]) == ("timed_out", "forward")


def test_a_request_may_ask_for_an_approval() -> None:
    assert a_view().approve_after is None
    assert a_view(request={"rollout": {"approve_after": "canary"}}).approve_after == "canary"
