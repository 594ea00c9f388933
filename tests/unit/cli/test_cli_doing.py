"""What the targets do right now, as commands show it: status, the live table, the lines of --follow."""

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console
from tests.fakes.views import a_target_view, a_view
from tests.unit.cli.scripted import ACCEPTED, STARTED, WEB1_FINISHED, WEB1_STARTED, WEB1_STEP, event
from tests.unit.cli.test_cli_rollout import folded, shown

from vesemir.cli.doing import doing_words
from vesemir.cli.doing_feed import follow_doing
from vesemir.cli.live import Lines
from vesemir.cli.rollout import RolloutProgress
from vesemir.cli.status import view_parts
from vesemir.domain.doing import Doing
from vesemir.domain.states import TargetState
from vesemir.engine.ports.store import StoreAwayError
from vesemir.settings import PostgresSettings

BEGAN = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
CHECK = Doing("web1", "check-version", "target", "2026-11-27T12:00:00.000000Z", 45, "http://10.0.0.1/ answered 500")
WORK = [ACCEPTED, STARTED, WEB1_STARTED, WEB1_STEP]


def doing(*, now: float, wall: float, of: Sequence[Doing] = (CHECK,)) -> RolloutProgress:
    rollout = folded(*WORK)
    rollout.show_doing(of, now=now, wall=wall)
    return rollout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "check-version 12 s, try 45: http://10.0.0.1/ answered 500"),
        ({"attempts": 1, "last_error": None}, "check-version 12 s"),
        ({"phase": "prepare", "attempts": 1, "last_error": None}, "check-version (prepare) 12 s"),
        ({"last_error": "red \x1b[31m"}, "check-version 12 s, try 45: red ␛[31m"),
    ],
)
def test_the_words(changes: dict[str, object], words: str) -> None:
    assert doing_words(replace(CHECK, **changes), 12.0) == words  # type: ignore[arg-type]


def test_a_clock_that_is_behind_the_owners_shows_no_negative_time() -> None:
    assert doing_words(CHECK, -3.0).startswith("check-version 0.0 s")
    rollout = doing(now=10.0, wall=BEGAN - 100)
    assert rollout.targets["web1"].doing_since == 10.0


def test_the_live_table_names_the_running_step_in_80_columns() -> None:
    rollout = doing(now=20.0, wall=BEGAN + 5)
    lines = shown(rollout, now=27.0, width=80).splitlines()
    assert lines[2].split() == ["web1", "1", "running", "check-version", "12", "s,", "try", "45", "17", "s"]
    assert lines[-1].rstrip() == "web1: http://10.0.0.1/ answered 500"
    long = doing(now=20.0, wall=BEGAN + 5, of=[replace(CHECK, last_error="x" * 300)])
    lines = shown(long, now=27.0, width=80).splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) == 80
    assert lines[-1].endswith("…")


def test_the_same_answer_of_several_is_shown_once_and_rows_make_room_for_it() -> None:
    rollout = folded(*WORK, event("target.started", 5, target="web2", batch=2, direction="forward"))
    rollout.show_doing([CHECK, replace(CHECK, target="web2")], now=20.0, wall=BEGAN + 5)
    assert shown(rollout, now=20.0).splitlines()[-1].rstrip() == "web1 and 1 more: http://10.0.0.1/ answered 500"


@pytest.mark.parametrize(
    "ended", [{**WEB1_STEP, "sequence": 5, "step": "check-version"}, WEB1_FINISHED], ids=["step", "target"]
)
def test_what_ended_is_not_shown_until_the_record_is_read_again(ended: dict[str, object]) -> None:
    rollout = doing(now=20.0, wall=BEGAN + 5)
    rollout.apply(ended, now=21.0)
    assert rollout.targets["web1"].doing is None
    assert "try 45" not in shown(rollout, now=22.0)


def test_only_targets_in_work_do_something() -> None:
    rollout = doing(now=20.0, wall=BEGAN, of=[CHECK, replace(CHECK, target="web2"), replace(CHECK, target="web9")])
    assert [target.name for target in rollout.targets.values() if target.doing] == ["web1"]
    rollout.show_doing((), now=21.0, wall=BEGAN)
    assert rollout.targets["web1"].doing is None


def test_without_a_terminal_a_long_step_has_a_line_now_and_then() -> None:
    written = io.StringIO()
    lines = Lines(Console(file=written, width=1000))
    rollout = folded(*WORK)
    for seconds in range(45):
        rollout.show_doing([CHECK], now=100.0 + seconds, wall=BEGAN + seconds)
        lines.doing(list(rollout.targets.values()), now=100.0 + seconds)
    reported = [line.partition(" ")[2] for line in written.getvalue().splitlines()]
    words = "try 45: http://10.0.0.1/ answered 500"
    assert reported == [f"web1: still in check-version {seconds} s, {words}" for seconds in (10, 20, 40)]


def test_many_long_steps_are_few_lines() -> None:
    written = io.StringIO()
    lines = Lines(Console(file=written, width=1000))
    names = [f"web{number}" for number in range(30)]
    rollout = folded(
        *(event("target.started", n, target=name, batch=1, direction="forward") for n, name in enumerate(names, 1))
    )
    rollout.show_doing([replace(CHECK, target=name) for name in names], now=100.0, wall=BEGAN + 11)
    lines.doing(list(rollout.targets.values()), now=100.0)
    reported = written.getvalue().splitlines()
    assert len(reported) == 6
    assert reported[-1].endswith("… and 25 more targets in long steps")


def test_status_names_what_each_target_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesemir.cli.status.time.time", lambda: BEGAN + 12)
    view = a_view(targets=(a_target_view("web1", TargetState.RUNNING),), doing=(CHECK,))
    console = Console(width=80)
    with console.capture() as capture:
        console.print(*view_parts(view), sep="\n")
    text = capture.get()
    assert "Right now:\nweb1: check-version 12 s, try 45: http://10.0.0.1/ answered 500" in text
    assert max(map(len, text.splitlines())) <= 80
    with console.capture() as capture:
        console.print(*view_parts(replace(view, doing=())), *view_parts(replace(view, doing=None)))
    assert "Right now" not in capture.get()
    with console.capture() as capture:
        console.print(*view_parts(replace(view, doing=(CHECK,) * 25)), sep="\n")
    assert "… and 5 more targets: vesemir status ID --json has all of them" in capture.get()


class _Enough(Exception):  # noqa: N818 - ends what goes on for ever
    pass


async def test_a_record_that_is_away_is_left_alone_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[object] = [(CHECK,), StoreAwayError("away"), None, (CHECK,), _Enough()]

    async def doing_of(*_: object, **__: object) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("vesemir.cli.doing_feed.PostgresStore.doing_of", doing_of)
    monkeypatch.setattr("vesemir.cli.doing_feed.POLL_SECONDS", 0)
    monkeypatch.setattr("vesemir.cli.doing_feed.AWAY_SECONDS", 0)
    seen: list[Sequence[Doing]] = []
    wanted = iter([False, *[True] * 10])
    with pytest.raises(_Enough):
        await follow_doing(PostgresSettings(), "d-1", wanted=lambda: next(wanted), show=seen.append)
    assert seen == [(CHECK,), (), (), (CHECK,)]
