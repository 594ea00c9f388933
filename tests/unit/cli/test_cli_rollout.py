"""What is known of a rollout from its events, whatever order and however often they come."""

from rich.console import Console
from tests.unit.cli.scripted import (
    ACCEPTED,
    ID,
    STARTED,
    WEB1_FINISHED,
    WEB1_STARTED,
    WEB1_STEP,
    event,
    failure,
    finished,
)

from vesemir.cli.live import rendered
from vesemir.cli.rollout import RolloutProgress, line_of

ALL = [ACCEPTED, STARTED, WEB1_STARTED, WEB1_STEP, WEB1_FINISHED, finished()]


def folded(*events: dict[str, object], now: float = 10.0) -> RolloutProgress:
    rollout = RolloutProgress(ID)
    for each in events:
        rollout.apply(each, now=now)
    return rollout


def shown(rollout: RolloutProgress, *, now: float, rows: int = 20, width: int = 100) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(rendered(rollout, now=now, rows=rows))
    return capture.get()


def test_a_target_on_its_way() -> None:
    rollout = folded(ACCEPTED, STARTED, WEB1_STARTED, WEB1_STEP)
    web1, web2 = rollout.targets.values()
    assert (web1.status, web1.step, web1.batch, web1.since) == ("running", "unpack", 1, 10.0)
    assert (web2.status, web2.address, web2.batch, web2.since) == ("pending", "10.0.0.2", 2, None)
    assert rollout.state == "running"


def test_the_end() -> None:
    rollout = folded(*ALL)
    assert rollout.finished == ALL[-1]
    assert [target.status for target in rollout.targets.values()] == ["succeeded", "succeeded"]
    assert rollout.missing == []


def test_a_duplicate_changes_nothing_and_is_told_apart() -> None:
    rollout = folded(*ALL[:5])
    assert rollout.apply(WEB1_STARTED, now=99.0) is False
    assert rollout.targets["web1"].status == "succeeded"
    assert rollout.apply(ALL[5], now=99.0) is True


def test_what_did_not_come_is_known_until_it_comes() -> None:
    rollout = folded(ACCEPTED, WEB1_STARTED, WEB1_FINISHED)
    assert list(rollout.missing) == [2, 4]
    assert rollout.apply(STARTED, now=0.0) is True
    assert list(rollout.missing) == [4]


def test_an_event_of_another_deployment_is_dropped() -> None:
    rollout = folded(ACCEPTED)
    assert rollout.apply({**STARTED, "deployment_id": "another"}, now=0.0) is False
    assert rollout.apply({"event": "nonsense"}, now=0.0) is False
    assert rollout.state == "pending"


def test_a_rejection_without_an_id_is_an_answer_too() -> None:
    rejected = {**event("deployment.rejected", 0, failure=failure("request.too_large")), "deployment_id": None}
    assert folded(rejected).rejected == rejected


def test_a_rollback_starts_its_targets_again() -> None:
    back = event("target.started", 7, target="web1", batch=1, direction="back")
    rollout = folded(*ALL[:5], back)
    assert (rollout.targets["web1"].direction, rollout.targets["web1"].status) == ("back", "running")
    assert "running (back)" in shown(rollout, now=11.0)


def test_lines() -> None:
    assert [line_of(each) for each in ALL] == [
        "accepted",
        "started: 2 targets in 2 batches",
        "web1: started (batch 1)",
        "web1: step unpack succeeded (0.4 s)",
        "web1: succeeded (2.5 s)",
        "finished: succeeded",
    ]
    assert line_of({**ACCEPTED, "position": 2}) == "accepted: 2 deployments of shop/production before it"
    assert line_of(event("deployment.paused", 3, requested_by="joe", reason="lunch")) == "paused by joe: lunch"
    assert line_of(event("deployment.rolling_back", 3, failure=failure(message="2 failed"))) == "rolling back 2 failed"
    taken = event("deployment.taken_over", 3, epoch=4, previous_instance="b/2")
    assert line_of(taken) == "taken over by a/1 from b/2"
    failed = {**WEB1_FINISHED, "status": "failed", "failure": failure()}
    assert line_of(failed) == "web1: failed (2.5 s): step restart ended with 1 [step.failed]"


def test_the_verdict_on_a_canary_is_told_with_its_numbers() -> None:
    output = "pass: web1 had 0 errors in 300 requests (0 %), its 4 siblings 1 error in 1200 requests (0.1 %)\n\nmore"
    judged = {**WEB1_STEP, "step": "analysis", "output": output}
    assert line_of(judged) == f"web1: step analysis succeeded (0.4 s): {output.splitlines()[0]}"
    assert folded(ACCEPTED, STARTED, WEB1_STARTED, judged).targets["web1"].step == "analysis pass"
    failed = {**judged, "status": "failed"}
    assert folded(ACCEPTED, STARTED, WEB1_STARTED, failed).targets["web1"].step == "analysis failed"


def test_one_that_regressed_is_told_and_shown_as_failed() -> None:
    told = event("target.regressed", 6, target="web1", failure=failure("health.failed"), in_traffic=False)
    assert line_of(told) == "web1: regressed: step restart ended with 1 [health.failed]"
    web1 = folded(*ALL[:5], told).targets["web1"]
    assert (web1.status, web1.failure) == ("failed", told["failure"])
    assert "web1" in shown(folded(*ALL[:5], told), now=1.0)


def test_an_event_of_a_target_that_is_not_known_is_a_line_too() -> None:
    assert line_of(event("target.moved", 6, target="web1")) == "web1: moved"


def test_the_live_table_ticks() -> None:
    text = shown(folded(*ALL[:4], now=10.0), now=22.0)
    assert "d-1: running · 1 running, 1 pending" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("web1"))
    assert row == ["web1", "1", "running", "unpack", "12", "s"]


def test_a_table_too_long_for_the_screen_shows_what_matters_first() -> None:
    names = [f"web{number}" for number in range(300)]
    many = event(
        "deployment.started", 2, targets=[{"name": name, "address": "10.0.0.1"} for name in names], batches=[names]
    )
    started = event("target.started", 3, target="web299", batch=1, direction="forward")
    done = event(
        "target.finished", 4, target="web0", direction="forward", status="failed", failure=failure(), duration_seconds=1
    )
    text = shown(folded(many, started, done), now=11.0, rows=4)
    listed = [line.split()[0] for line in text.splitlines()[2:-1]]
    assert listed == ["web0", "web1", "web2", "web299"]
    assert text.splitlines()[-1].startswith("… and 296 more targets")
