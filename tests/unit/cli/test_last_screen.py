"""What ``deploy --follow`` ends with: first the targets that get no traffic. Only what serves counts."""

from pathlib import Path
from typing import Any

from tests.unit.cli.conftest import Invoke
from tests.unit.cli.scripted import ACCEPTED, STARTED, WEB1_STARTED, event, failure, finished

from vesemir.domain.traffic import AdminState
from vesemir.domain.traffic_prior import LEFT_DRAINED, PriorState, PriorTraffic, left_as_it_was_in

PRIOR = PriorTraffic("web1", {"lb1": PriorState(AdminState.DRAIN, 9, 9, agent=False, up=True, process_id=1)})
DRAIN = event(
    "step.finished", 4, target="web1", step="drain", status="succeeded", exit_status=None, duration_seconds=0.4,
    output=f"web1 out of traffic on lb1 after 0.1 s; it {PRIOR.left_as_it_was}", output_truncated=False,
)  # fmt: skip


def ended(name: str, sequence: int, status: str, *, in_traffic: bool, **more: Any) -> dict[str, Any]:
    told = {"failure": None, "duration_seconds": 2.5, **more}
    return event(
        "target.finished", sequence, target=name, direction="forward", status=status, in_traffic=in_traffic, **told
    )


def result(status: str, **in_traffic: bool | None) -> dict[str, Any]:
    body = finished(status, 9, told=None if status == "succeeded" else failure("rollout.too_many_failures", "1 failed"))
    for target in body["targets"]:
        target["in_traffic"] = in_traffic[target["name"]]
    return body


def test_what_somebody_else_had_taken_out_is_named_first(invoke: Invoke, script: Any, event_file: Path) -> None:
    web1 = ended("web1", 5, "succeeded", in_traffic=False)
    script([ACCEPTED, STARTED, WEB1_STARTED, DRAIN, web1, result("succeeded", web1=False, web2=True)])
    told = invoke("deploy", "--follow", "--file", str(event_file))
    lines = told.stdout.splitlines()
    assert lines[:3] == [
        "No traffic on web1: taken out before this deployment, and not by it (drain on lb1).",
        "What is known of it now: `vesemir status d-1`",
        "",
    ]
    assert lines[-1] == (
        "2.0.0 of shop in production is out: 1 of 2 targets serve it, 1 has it but gets no traffic (web1), after 5.5 s."
    )
    assert "12:00:05 web1: succeeded (2.5 s), gets no traffic" in told.stderr.splitlines()


def test_what_this_deployment_left_drained_is_named_with_when(invoke: Invoke, script: Any, event_file: Path) -> None:
    web2 = ended("web2", 5, "failed", in_traffic=False, failure=failure())
    last = result("failed", web1=True, web2=False)
    last["targets"][1]["failure"] = failure(message=f"no; its server web2 {LEFT_DRAINED} lb1")
    script([ACCEPTED, STARTED, web2, last])
    first, *_ = invoke("deploy", "--follow", "--file", str(event_file)).stdout.splitlines()
    assert first == (
        "No traffic on web2: left drained by this deployment at 2026-11-23 12:00:05 UTC, because it failed there."
    )


def test_without_the_events_before_it_the_result_says_what_it_can(
    invoke: Invoke, script: Any, event_file: Path
) -> None:
    last = result("failed", web1=False, web2=False)
    last["targets"][0]["status"] = "skipped"
    script([ACCEPTED, last])
    lines = invoke("deploy", "--follow", "--file", str(event_file)).stdout.splitlines()
    assert lines[:2] == [
        "No traffic on web1: out, not UP or unknown in HAProxy, and not by this deployment.",
        "No traffic on web2: it failed, and its failure says how it was left.",
    ]
    script([ACCEPTED, result("succeeded", web1=False, web2=False)])
    lines = invoke("deploy", "--follow", "--file", str(event_file)).stdout.splitlines()
    assert lines[0] == "No traffic on web1, web2: ready, but not UP in HAProxy or without weight."
    assert "is installed, but not out: 0 of 2 targets serve it" in lines[-1]


def test_a_dry_run_is_one_on_its_last_screen_however_it_ended(invoke: Invoke, script: Any, event_file: Path) -> None:
    """One that failed before it knew its targets has no plan to be known by."""
    last = event("deployment.finished", 2, status="failed", failure=failure("targets.none_found", "none"), targets=[],
                 metrics={"duration_seconds": 0.1, "targets_total": 0, "targets_succeeded": 0, "targets_rolled_back": 0}
    )  # fmt: skip
    script([ACCEPTED, last])
    told = invoke("deploy", "--dry-run", "--follow", "--file", str(event_file))
    assert told.stderr.splitlines() == ["12:00:01 accepted as a dry run", "12:00:02 finished: dry run: would fail"]
    shown = told.stdout.splitlines()
    assert shown[0] == "The dry run of 2.0.0 of shop in production failed after 0.1 s, nothing was changed: none."


def test_the_words_for_what_others_did_are_found_where_they_were_written() -> None:
    assert left_as_it_was_in(f"a; it {PRIOR.left_as_it_was}") == PRIOR.taken_out == "drain on lb1"
    assert left_as_it_was_in("web1 out of traffic on lb1 after 0.1 s") == ""
