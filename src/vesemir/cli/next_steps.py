"""What to do about a failure: the commands to type next, for the deployment at hand, causes before consequences."""

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Protocol

from rich.console import RenderableType

from vesemir.cli.advice import INDENT, advice
from vesemir.cli.output import paragraph, text
from vesemir.domain.failure import commands_in
from vesemir.engine.ports.views import DeploymentView, FailureView, TargetView

_CONSEQUENCES = frozenset({"rollout.too_many_failures"})
"""Codes that only say that targets failed: their own codes say what to do."""
_WITH_OUTPUT = ("step.", "health.", "artifact.", "target.timed_out", "deployment.timed_out")
"""Codes whose cause stands in what a step printed."""


class FailedTarget(Protocol):
    """A target of the record or of a result."""

    @property
    def name(self) -> str: ...

    @property
    def failure(self) -> FailureView | None: ...


def next_steps(
    deployment_id: str, failure: FailureView | None, targets: Sequence[FailedTarget]
) -> Iterator[RenderableType]:
    """Nothing, where nothing failed."""
    of_targets = {target.name: target.failure for target in targets if target.failure}
    commands = [
        *_named(failure, of_targets),
        *_logs(deployment_id, of_targets),
        *_entries(failure, of_targets),
    ]
    if commands:
        yield text("What to do", "bold")
        yield from advice(commands)


def paused_steps(deployment_id: str) -> Iterator[RenderableType]:
    """What a pause waits for."""
    yield text("What to do", "bold")
    yield from advice(
        [("let it go on", f"vesemir resume {deployment_id}"), ("end it", f"vesemir cancel {deployment_id}")]
    )


def _named(failure: FailureView | None, of_targets: Mapping[str, FailureView]) -> Iterator[tuple[str, str]]:
    """What the failures themselves say, of the first target that says it."""
    for name, each in [("the deployment", failure), *of_targets.items()]:
        for command in commands_in(each.message) if each else ():
            yield f"as the failure of {name} says", command


def _logs(deployment_id: str, of_targets: Mapping[str, FailureView]) -> Iterator[tuple[str, str]]:
    """Of the first target of each code that printed something."""
    seen = set()
    for name, failure in of_targets.items():
        if failure.code.startswith(_WITH_OUTPUT) and failure.code not in seen:
            seen.add(failure.code)
            yield f"what the steps on {name} printed", f"vesemir logs {deployment_id} --target {name}"


def _entries(failure: FailureView | None, of_targets: Mapping[str, FailureView]) -> Iterator[tuple[str, str]]:
    of_all = list(of_targets.values())
    if failure is not None and not (failure.code in _CONSEQUENCES and of_all):
        of_all.insert(0, failure)
    for code, runbook in {each.code: each.runbook for each in of_all}.items():
        yield f"meaning, how to tell, how to mend, whom to call ({runbook})", f"vesemir explain {code}"


def out_of_traffic(view: DeploymentView, targets: Sequence[TargetView]) -> Iterator[RenderableType]:
    """Servers that this deployment left drained and that still are, and the command that gives them their traffic."""
    names = [target.name for target in targets if _left_drained(view, target)]
    if not names:
        return
    yield paragraph(
        text(f"Left drained on purpose: {', '.join(names)}.", "bold"),
        text(" The next deployment that succeeds there puts each back. Or, once the application answers:"),
    )
    yield text("after a fresh check of each:")
    lane = f"--application {quote(view.application)} --environment {quote(view.environment)}"
    yield text(f"{INDENT}vesemir ready {' '.join(map(quote, names))} {lane}")


def _left_drained(view: DeploymentView, target: TargetView) -> bool:
    return target.left_drained is not None and target.left_drained.deployment_id == view.deployment_id
