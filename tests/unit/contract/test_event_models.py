"""The event models accept what the contract shows and nothing that breaks it."""

import copy
from typing import Any

import pytest
from tests.published import validate_event

from vesemir.contract.events import EVENTS, Metrics
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.result import RESULT_STATES, empty_metrics
from vesemir.domain.states import FINAL
from vesemir.domain.step import Direction, StepStatus

Json = dict[str, Any]

FAILURE = Failure(FailureCode.STEP_FAILED, "step restart ended with 1").as_json()
COMMON = {
    "deployment_id": "d1",
    "sequence": 3,
    "occurred_at": "2026-11-23T12:00:00.123456Z",
    "application": "shop",
    "environment": "production",
    "version": "1.4.2",
    "instance": "vesemir-1/4711-a1b2",
}
UNKNOWN = {**COMMON, "deployment_id": None, "application": None, "environment": None, "version": None, "sequence": 0}
WHO = {"requested_by": "ops", "reason": None}
BODIES: dict[str, Json] = {
    "deployment.accepted": {**COMMON, "position": 0, "break_glass": {"reason": "the shop is down"}},
    "deployment.rejected": {**UNKNOWN, "failure": {**FAILURE, "details": [{"field": "body", "message": "no"}]}},
    "deployment.started": {**COMMON, "targets": [{"name": "web1", "address": "127.0.0.2"}], "batches": [["web1"]]},
    "target.started": {**COMMON, "target": "web1", "batch": 1, "direction": "forward"},
    "step.finished": {
        **COMMON,
        "target": "web1",
        "step": "restart",
        "status": "failed",
        "exit_status": None,
        "duration_seconds": 1,
        "output": "\ufffd" * 4096,
        "output_truncated": True,
    },
    "target.finished": {
        **COMMON,
        "target": "web1",
        "direction": "back",
        "status": "failed",
        "failure": FAILURE,
        "duration_seconds": 2.5,
    },
    "target.regressed": {**COMMON, "target": "web1", "failure": FAILURE, "in_traffic": None},
    "deployment.paused": {**COMMON, **WHO},
    "deployment.resumed": {**COMMON, **WHO},
    "deployment.cancelling": {**COMMON, **WHO},
    "deployment.rolling_back": {**COMMON, "failure": FAILURE},
    "deployment.taken_over": {**COMMON, "epoch": 7, "previous_instance": "vesemir-2/1-c"},
    "deployment.finished": {
        **COMMON,
        "status": "failed",
        "failure": FAILURE,
        "targets": [
            {"name": "web1", "address": "127.0.0.2", "status": "skipped", "failure": None, "duration_seconds": 0.0}
        ],
        "metrics": empty_metrics(0.5),
    },
    "control.accepted": {**COMMON, "sequence": 0, "command": "pause", "failure": None, "known": True},
    "control.rejected": {**UNKNOWN, "command": None, "failure": FAILURE},
}


def event(name: str, **changes: Any) -> Json:
    return {"event": name, **copy.deepcopy(BODIES[name]), **changes}


def test_there_is_an_example_of_every_event() -> None:
    assert list(BODIES) == list(EVENTS)


@pytest.mark.parametrize("name", list(EVENTS))
def test_a_complete_event_is_valid(name: str) -> None:
    assert validate_event(event(name)).event == name


@pytest.mark.parametrize("name", list(EVENTS))
def test_every_field_of_an_event_is_required(name: str) -> None:
    for field in BODIES[name]:
        lacking = event(name)
        del lacking[field]
        with pytest.raises(ValueError, match=field):
            validate_event(lacking)


@pytest.mark.parametrize("name", list(EVENTS))
def test_a_field_that_the_contract_does_not_know_is_a_mistake_of_ours(name: str) -> None:
    with pytest.raises(ValueError, match="colour"):
        validate_event(event(name, colour="red"))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("deployment.accepted", {"sequence": 0}),
        ("deployment.accepted", {"sequence": True}),
        ("deployment.accepted", {"deployment_id": None}),
        ("deployment.accepted", {"position": -1}),
        ("deployment.accepted", {"occurred_at": "2026-11-23T12:00:00"}),
        ("deployment.accepted", {"occurred_at": "2026-11-23T12:00:00+00:00"}),
        ("deployment.accepted", {"occurred_at": "2026-13-23T12:00:00Z"}),
        ("deployment.accepted", {"instance": "vesemir-1"}),
        ("deployment.rejected", {"sequence": 1}),
        ("deployment.rejected", {"failure": FAILURE}),
        ("deployment.started", {"batches": ["web1"]}),
        ("target.started", {"batch": 0}),
        ("target.started", {"direction": "backwards"}),
        ("step.finished", {"output": "x" * 4097}),
        ("step.finished", {"status": "ok"}),
        ("step.finished", {"phase": "forward"}),
        ("target.finished", {"status": "running"}),
        ("target.finished", {"failure": {**FAILURE, "code": "step.exploded"}}),
        ("target.finished", {"failure": {**FAILURE, "runbook": "#step-failed"}}),
        ("deployment.taken_over", {"epoch": "7"}),
        ("deployment.finished", {"status": "running"}),
        ("deployment.finished", {"metrics": {}}),
        ("deployment.finished", {"plan": {"batches": []}}),
        ("control.accepted", {"command": "stop"}),
        ("control.accepted", {"failure": FAILURE}),
        ("control.rejected", {"failure": None}),
    ],
)
def test_what_breaks_the_contract_is_found(name: str, changes: Json) -> None:
    with pytest.raises(ValueError, match="validation error"):
        validate_event(event(name, **changes))


def test_a_turn_without_a_reason_is_found() -> None:
    with pytest.raises(ValueError, match="requested_by and reason, or failure"):
        validate_event({"event": "deployment.paused", **COMMON, "failure": None})


def test_an_event_that_the_contract_does_not_know_is_found() -> None:
    with pytest.raises(ValueError, match="is not an event of the contract"):
        validate_event({"event": "deployment.exploded", **COMMON})


def test_a_dry_run_tells_its_plan() -> None:
    target = {"name": "web1", "address": "127.0.0.2", "source": "file", "server": None, "steps": ["fetch"]}
    plan = {"batches": [["web1"]], "targets": [target], "load_balancers": []}
    assert validate_event(event("deployment.finished", plan=plan))


def values_of(model: str, field: str) -> set[str]:
    return set(EVENTS[model].model_json_schema()["properties"][field]["enum"])


def test_the_words_on_the_wire_are_those_of_the_domain() -> None:
    assert values_of("deployment.finished", "status") == {state.value for state in FINAL}
    assert values_of("target.finished", "status") == {state.value for state in RESULT_STATES}
    assert values_of("step.finished", "status") == {status.value for status in StepStatus}
    assert values_of("target.started", "direction") == {direction.value for direction in Direction}
    assert list(Metrics.model_fields) == list(empty_metrics(0))
