"""What a running deployment tells is what the contract's models judge: every event, by name and field for field."""

import dataclasses
from typing import Any

import pytest
from tests.published import validate_event

from vesemir.contract.events import EVENTS, Answer, Event
from vesemir.domain import events
from vesemir.domain.events import (
    DeploymentCancellingEvent,
    DeploymentFinishedEvent,
    DeploymentPausedEvent,
    DeploymentResumedEvent,
    DeploymentRollingBackEvent,
    DeploymentStartedEvent,
    DeploymentTakenOverEvent,
    ProgressEvent,
    StepFinishedEvent,
    TargetEnd,
    TargetFinishedEvent,
    TargetRegressedEvent,
    TargetStartedEvent,
)
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.plan import Batch, Plan
from vesemir.domain.result import empty_metrics
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.domain.step import Direction, StepStatus
from vesemir.domain.target import Target
from vesemir.domain.wish import Wish

COMMON = {
    "deployment_id": "d1",
    "sequence": 3,
    "occurred_at": "2026-11-23T12:00:00.123456Z",
    "application": "shop",
    "environment": "production",
    "version": "1.4.2",
    "instance": "vesemir-1/4711-a1b2",
}
FAILURE = Failure(FailureCode.STEP_FAILED, "step restart ended with 1")
WISH = Wish("anna", "lunch")
WEB = Target("web1", "127.0.0.2", 22, "deploy", {}, "inventory")
PLAN = Plan((Batch(1, ("web1",), canary=True, group=0),), concurrency=1, max_failures=0)
DRY_PLAN: dict[str, Any] = {"batches": [["web1"]], "targets": [], "load_balancers": []}

EXAMPLES: list[ProgressEvent] = [
    DeploymentStartedEvent([WEB], PLAN),
    TargetStartedEvent("web1", 1, Direction.FORWARD),
    StepFinishedEvent("web1", "restart", "target", StepStatus.FAILED, 1, 0.12345, "no", output_truncated=True),
    TargetFinishedEvent("web1", Direction.BACK, TargetState.FAILED, FAILURE, 1.23456),
    TargetFinishedEvent("web1", Direction.FORWARD, TargetState.SKIPPED, None, None),
    TargetRegressedEvent("web1", FAILURE, in_traffic=False),
    DeploymentPausedEvent(WISH),
    DeploymentResumedEvent(Wish()),
    DeploymentCancellingEvent(WISH),
    DeploymentRollingBackEvent(FAILURE),
    DeploymentTakenOverEvent(7, "vesemir-2/1-c"),
    DeploymentFinishedEvent(DeploymentState.SUCCEEDED, None, (), empty_metrics(0.5), plan=DRY_PLAN),
    DeploymentFinishedEvent(
        DeploymentState.FAILED, FAILURE, [TargetEnd(WEB, TargetState.FAILED, FAILURE, 0.98765)], empty_metrics(0.5)
    ),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.name)
def test_the_body_of_an_event_is_what_its_model_asks_for(event: ProgressEvent) -> None:
    """In the order of the contract's table."""
    model = validate_event({"event": event.name, **COMMON, **event.body()})
    assert type(model) is EVENTS[event.name]
    own = [name for name in type(model).model_fields if name not in Event.model_fields]
    assert list(event.body()) == [name for name in own if name in event.body()]


def test_durations_are_told_to_the_millisecond() -> None:
    assert EXAMPLES[2].body()["duration_seconds"] == 0.123
    assert EXAMPLES[3].body()["duration_seconds"] == 1.235
    assert EXAMPLES[-1].body()["targets"][0]["duration_seconds"] == 0.988


def test_a_plan_is_told_of_a_dry_run_only() -> None:
    assert EXAMPLES[-2].body()["plan"] == DRY_PLAN
    assert "plan" not in EXAMPLES[-1].body()


def test_every_event_of_a_run_has_its_type() -> None:
    """Those about messages are answers, and ``deployment.accepted`` is written with the row, by one statement."""
    typed = {each.name: each for each in vars(events).values() if dataclasses.is_dataclass(each) and _is_event(each)}
    told = {name for name, model in EVENTS.items() if not issubclass(model, Answer)}
    assert set(typed) == told - {"deployment.accepted"}
    assert {type(event) for event in EXAMPLES} == set(typed.values())


def _is_event(each: type) -> bool:
    return each.__module__ == events.__name__ and hasattr(each, "body")
