"""A guard against regressions: how many instructions of the Python VM three core paths take, against a baseline.

Counted by tracing opcodes (sys.monitoring, or sys.settrace before Python 3.12), so the figure is the same on a loaded
machine and on an idle one; what C code does is not in it. It depends on the Python's minor version, so the baseline has
one column for each that was measured.

python -m benchmarks.guard            compare with benchmarks/baseline.json
python -m benchmarks.guard --write    make the baseline of this Python anew
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from vesemir.adapters.ssh.host import order
from vesemir.adapters.ssh.host_frames import Awaited, HostFrames
from vesemir.adapters.ssh.onhost.wire import ENDED, RUN, frame, pack
from vesemir.contract import MessageProperties, Parsed, parse_deploy_event
from vesemir.domain.plan import make_plan
from vesemir.domain.request import Rollout, Timeouts
from vesemir.domain.rollout import Begin, Complete, RolloutTally, Standing
from vesemir.domain.share import Share
from vesemir.domain.states import TargetState
from vesemir.domain.step import Command, Direction, StepKey
from vesemir.domain.target import Target

BASELINE = Path(__file__).with_name("baseline.json")
MARGIN = 1.3
"""How much more than the baseline is still no regression."""
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
EVENTS, TARGETS, STEPS = 20, 500, 100


def take_events() -> None:
    """Deploy events read and judged by their form (intake's own part)."""
    for number in range(EVENTS):
        body = json.dumps({**_EVENT, "deployment_id": f"d{number}"}).encode()
        parsed = parse_deploy_event(
            body, max_bytes=1 << 20, caps=Timeouts(), namespace="vesemir", properties=MessageProperties("q")
        )
        if not isinstance(parsed, Parsed):
            raise TypeError(f"refused: {parsed}")


_EVENT: Mapping[str, Any] = {
    "schema": "vesemir.deploy/1",
    "application": "shop",
    "environment": "production",
    "version": "1.4.2",
    "recipe": "release",
    "parameters": {"artifact_url": "https://artifacts.example.com/shop.tar.gz", "artifact_sha256": "0" * 64},
    "targets": {"chef": {"tags": ["shop-web"]}},
    "haproxy": {"targets": {"hosts": ["lb1", "lb2"]}, "backend": "shop", "server": "{name}", "weight": [5, 25]},
    "rollout": {"concurrency": "25%", "canary": 1, "on_failure": "rollback"},
}


def roll_out() -> None:
    """A sliding window over many targets, decided from the first to the last."""
    targets = [Target(f"web{number}", "127.0.0.1") for number in range(TARGETS)]
    plan = make_plan(targets, Rollout(concurrency=Share(20), mode="window"))
    tally = RolloutTally(plan, dict.fromkeys(plan.names, Standing(TargetState.PENDING, finished=False)))
    in_work: list[str] = []
    while not isinstance(move := tally.next_move(), Complete):
        for name in move.names if isinstance(move, Begin) else ():
            tally.note(name, Standing(TargetState.RUNNING, finished=False))
            in_work.append(name)
        tally.note(in_work.pop(0), Standing(TargetState.SUCCEEDED, finished=True))


def talk_to_a_host() -> None:
    """The client's side of steps: ordered, framed, and their results read."""
    frames = HostFrames()
    ended = frame(ENDED, pack([b"succeeded", b"0", b"5", b"0.01", b"0", b"1", b""]))
    for number in range(STEPS):
        key = StepKey("d1", Direction.FORWARD, f"step{number}")
        command = Command(("systemctl", "restart", "shop"), {"BOX_ROOT": "/srv"}, sudo=True)
        if not frame(RUN, pack(order(key, command))):
            raise ValueError("an empty frame")
        frames.ask(Awaited.STEP, output_limit=command.output_limit)
        if len(frames.feed(ended)) != 1:
            raise ValueError("no end")


PATHS: Mapping[str, tuple[Callable[[], None], int]] = {
    "one deploy event": (take_events, EVENTS),
    "one target of a rollout": (roll_out, TARGETS),
    "one step's frames": (talk_to_a_host, STEPS),
}


def instructions(work: Callable[[], None]) -> int:
    """How many opcodes it runs, its imports and caches warm."""
    work()
    return _monitored(work) if hasattr(sys, "monitoring") else _traced(work)


def _monitored(work: Callable[[], None]) -> int:
    """sys.settrace sees no opcodes of frames that were entered before their code was traced, since Python 3.12."""
    count, monitoring = 0, sys.monitoring
    tool = monitoring.PROFILER_ID

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    monitoring.use_tool_id(tool, "guard")
    try:
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, counted)
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        work()
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
    return count


def _traced(work: Callable[[], None]) -> int:
    count = 0

    def trace(seen: FrameType, event: str, _: object) -> Any:  # noqa: ANN401 - what sys.settrace asks for
        nonlocal count
        seen.f_trace_opcodes, seen.f_trace_lines = True, False
        if event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def measured() -> dict[str, float]:
    """Instructions for each path, per unit of its work."""
    return {name: round(instructions(work) / units, 1) for name, (work, units) in PATHS.items()}


def regressions(found: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """What takes more than the margin allows, in words."""
    return [
        f"{name}: {found[name]:.0f} instructions, the baseline has {figure:.0f} (margin {MARGIN}): "
        "find out why, or write the baseline anew and say in the commit what it is for"
        for name, figure in baseline.items()
        if found[name] > figure * MARGIN
    ]


def main() -> int:
    known: dict[str, dict[str, float]] = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    found = measured()
    for name, figure in found.items():
        print(f"{name}: {figure:.0f} instructions (baseline {known.get(PYTHON, {}).get(name, 'none')})")
    if "--write" in sys.argv[1:]:
        BASELINE.write_text(json.dumps({**known, PYTHON: found}, indent=1, sort_keys=True) + "\n")
        return 0
    bad = regressions(found, known.get(PYTHON, {}))
    print("\n".join(bad) or "no regression")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
