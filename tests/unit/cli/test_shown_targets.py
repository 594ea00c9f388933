"""The final tables: of hundreds of targets, those that failed are the last rows and the others are counted."""

from rich.console import Console
from tests.fakes.views import a_target_view, a_view

from vesemir.cli.shown_targets import MOST_ROWS, shown_targets
from vesemir.cli.status import view_parts
from vesemir.domain.states import DeploymentState, TargetState
from vesemir.engine.ports.views import DeploymentView, FailureView, TargetView


def target(number: int, code: str = "") -> TargetView:
    failure = FailureView.of_json({"code": code, "message": f"{code} there", "runbook": "r"}) if code else None
    status = TargetState.FAILED if code else TargetState.SUCCEEDED
    return a_target_view(f"web{number}", status, failure=failure)


def three_hundred() -> list[TargetView]:
    """The failures are among the first, and of two kinds in turn."""
    codes = {3: "step.failed", 5: "ssh.unreachable", 7: "step.failed"}
    return [target(number, codes.get(number, "")) for number in range(300)]


def screen(view: DeploymentView, *, everything: bool) -> list[str]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(*view_parts(view, everything=everything), sep="\n")
    return captured.get().splitlines()


def test_few_are_listed_as_they_come() -> None:
    few = [target(number, "step.failed" if number == 1 else "") for number in range(MOST_ROWS)]
    assert shown_targets(few, "d1") == (few, "")


def test_of_many_the_failures_are_listed_by_code_and_the_others_counted() -> None:
    shown, line = shown_targets(three_hundred(), "d1")
    assert [each.name for each in shown] == ["web3", "web7", "web5"]
    assert line == "Not listed: 297 succeeded. All: `vesemir status d1 --all`"


def test_of_very_many_failures_some_are_counted_too() -> None:
    shown, line = shown_targets([target(number, "step.failed") for number in range(300)], "d1")
    assert (len(shown), line) == (MOST_ROWS, "Not listed: 260 failed. All: `vesemir status d1 --all`")


def test_with_all_the_failures_are_the_last_rows() -> None:
    shown, line = shown_targets(three_hundred(), "d1", everything=True)
    assert ([each.name for each in shown[-3:]], len(shown), line) == (["web3", "web7", "web5"], 300, "")


def test_status_prints_300_targets_on_one_screen_unless_all_are_asked_for() -> None:
    """It printed 300 rows, and what had failed had scrolled away."""
    view = a_view(state=DeploymentState.FAILED, targets=tuple(three_hundred()))
    assert len(screen(view, everything=False)) < 40
    assert len(screen(view, everything=True)) > 300
