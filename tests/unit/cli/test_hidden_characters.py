"""No host, node, version or reason reaches a terminal with what is hidden in it."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from tests.fakes.views import a_step_view

from vesemir.cli import logs
from vesemir.cli.live import Lines, rendered
from vesemir.cli.output import print_json, say, show, table
from vesemir.cli.rollout import RolloutProgress, TargetProgress
from vesemir.domain.step import StepStatus

EVIL = "w\x1b[2J\u202eb\x9b1\x7f\u200b\r"
HIDDEN = set("\x1b\u202e\x9b\x7f\u200b\r")
STEP: dict[str, Any] = {
    "target": EVIL, "step": EVIL, "status": StepStatus.FAILED, "exit_status": 1, "output": f"{EVIL}\n{EVIL}"
}  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_logs(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    logs._print([replace(a_step_view(1, EVIL), **STEP)], as_json=as_json)
    printed = capsys.readouterr().out
    assert not HIDDEN & set(printed)
    if as_json:
        assert json.loads(printed)["output"] == STEP["output"]
    else:
        assert "\\u202e" in printed


def test_lines_tables_and_documents(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    show(EVIL, table("target", rows=[(EVIL,), (f"{EVIL}\nweb2  succeeded",)]))
    print_json({"reason": EVIL})
    printed = capsys.readouterr()
    assert not HIDDEN & set(printed.out + printed.err)
    assert "\nweb2" not in printed.out


def test_a_rollout_that_is_followed() -> None:
    out = io.StringIO()
    shown = Console(file=out, width=200)
    rollout = RolloutProgress("d1")
    rollout.targets[EVIL] = TargetProgress(EVIL, step=EVIL)
    rollout.note = EVIL
    shown.print(rendered(rollout, now=0.0, rows=5))
    failure = {"code": "step.failed", "message": f"{EVIL}\n12:00:00 web2: succeeded"}
    Lines(shown).event({
        "event": "target.finished", "target": EVIL, "status": "failed", "duration_seconds": 1.0, "failure": failure,
    })  # fmt: skip
    assert not HIDDEN & set(out.getvalue())
    assert "\n12:00:00" not in out.getvalue()
