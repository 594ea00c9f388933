"""What to do about a failure: the commands to type next, for the deployment at hand, causes before consequences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from rich.console import RenderableType

from vesemir.cli.output import paragraph, table, text
from vesemir.domain.states import TargetState
from vesemir.engine.ports.views import DeploymentView, FailureView, TargetView

_CONSEQUENCES = frozenset({"rollout.too_many_failures"})
"""Codes that only say that targets failed: their own codes say what to do."""
_WITH_OUTPUT = ("step.", "health.", "artifact.", "target.timed_out", "deployment.timed_out")
"""Codes whose cause stands in what a step printed."""
_SOCKET = "/run/haproxy/admin.sock"
"""The default of the setting ``haproxy.socket``, which an inventory variable may override."""
_SHOWN = 3
_SERVES = frozenset({TargetState.SUCCEEDED, TargetState.ROLLED_BACK, TargetState.SKIPPED})


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
    rows = [*_logs(deployment_id, of_targets), *_entries(failure, of_targets)]
    if rows:
        yield text("What to do", "bold")
        shown = table("", "", rows=rows)
        shown.show_header = False
        shown.columns[0].no_wrap = True
        yield shown


def _logs(deployment_id: str, of_targets: Mapping[str, FailureView]) -> Iterator[tuple[str, str]]:
    """Of the first target of each code that printed something."""
    seen = set()
    for name, failure in of_targets.items():
        if failure.code.startswith(_WITH_OUTPUT) and failure.code not in seen:
            seen.add(failure.code)
            yield f"vesemir logs {deployment_id} --target {name}", f"what the steps on {name} printed"


def _entries(failure: FailureView | None, of_targets: Mapping[str, FailureView]) -> Iterator[tuple[str, str]]:
    of_all = list(of_targets.values())
    if failure is not None and not (failure.code in _CONSEQUENCES and of_all):
        of_all.insert(0, failure)
    for code, runbook in {each.code: each.runbook for each in of_all}.items():
        yield f"vesemir explain {code}", f"meaning, how to tell, how to mend, whom to call ({runbook})"


def out_of_traffic(view: DeploymentView, targets: Sequence[TargetView]) -> Iterator[RenderableType]:
    """Servers that a failure left drained, and the commands that give them their traffic back."""
    drained = (view.server_of(target.name) for target in targets if _left_drained(target))
    servers = [server for server in drained if server is not None]
    if not servers:
        return
    yield paragraph(
        text(f"Without traffic, on purpose: {', '.join(servers)}.", "bold"),
        text(" The next deployment leaves it so. Once the application answers there, set it ready by hand:"),
    )
    commands = [
        (
            f'echo "set server {server} state ready" | socat - UNIX-CONNECT:{box.socket or _SOCKET}',
            f"on {box.name}",
        )
        for server in servers[:_SHOWN]
        for box in view.balancers
    ]
    shown = table("", "", rows=commands)
    shown.show_header = False
    yield shown


def _left_drained(target: TargetView) -> bool:
    """As contract section 5 says: it failed, was cancelled or is unknown after its first recipe step began."""
    ended = target.finished and target.status not in _SERVES
    return bool(ended and target.touched and target.traffic)
