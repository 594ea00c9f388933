"""Starting and ending: nothing runs unrecorded, and nothing is left, however it tries to stay."""

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vesemir.lab import proc
from vesemir.lab.ending import end, stop_owner
from vesemir.lab.places import LabError
from vesemir.lab.programs import PATH
from vesemir.lab.roster import Roster, RosterEntry, RosterProgram
from vesemir.lab.up import take_down

STAYS = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() > 0:
        os._exit(0)
open(sys.argv[1] + str(os.getpid()), "w").close()
time.sleep(600)
"""


@pytest.fixture
def roster(tmp_path: Path) -> Iterator[Roster]:
    made = Roster.new(tmp_path / "processes.json", token=os.urandom(8).hex())
    yield made
    end(made)


def program(tmp_path: Path, *words: str, name: str = "p") -> RosterProgram:
    return RosterProgram(name, words, log=tmp_path / f"{name}.log", environment={"PATH": PATH})


def wait_for(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def test_a_program_is_on_disk_before_it_runs(roster: Roster, tmp_path: Path) -> None:
    """What the program sees in the roster's file when it begins is its own entry."""
    (child,) = roster.start([program(tmp_path, "/bin/cat", str(roster.file))])
    child.wait(10)
    assert f'"pid": {child.pid}' in (tmp_path / "p.log").read_text()


def test_a_program_never_begins_when_its_starter_dies_before_it_was_recorded(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from vesemir.lab.roster import Roster, RosterProgram
roster = Roster.new(Path({str(tmp_path / "processes.json")!r}), token="t")
roster.save = lambda: os._exit(9)
roster.start([RosterProgram("p", ["/bin/touch", {str(tmp_path / "began")!r}], log=Path({str(tmp_path / "log")!r}))])
"""
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert starter.wait(30) == 9
    mark = b"VESEMIR_LAB_TOKEN=t"
    wait_for(lambda: not any(proc.carries(pid, mark + b"\0") for pid in proc.everyone()))
    assert not (tmp_path / "began").exists()
    assert starter.stdout is not None
    starter.stdout.close()


def test_ending_leaves_nothing_of_a_program_that_hides(roster: Roster, tmp_path: Path) -> None:
    """It ignores SIGTERM, forks twice and has a session of its own; its parent is init by then."""
    script = tmp_path / "stays.py"
    script.write_text(STAYS)
    (child,) = roster.start([program(tmp_path, sys.executable, str(script), str(tmp_path / "pid-"))])
    wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
    pids = {int(file.name.removeprefix("pid-")) for file in tmp_path.glob("pid-*")}
    assert child.pid in pids
    ended = end(Roster.read(roster.file) or roster, grace=0.3)
    assert [entry.pid for entry in ended.entries] == [child.pid]
    assert ended.killed >= 2
    for pid in pids:
        seen = proc.look(pid)
        assert seen is None or seen.dead


def test_down_ends_a_lab_whose_folder_somebody_has_deleted(tmp_path: Path) -> None:
    """It said that there was no lab, and about 12 processes ran on."""
    folder = tmp_path / "lab"
    folder.mkdir()
    lab = Roster.new(folder / "processes.json", token=os.urandom(8).hex())
    (child,) = lab.start([program(folder, "/bin/sleep", "600")])
    try:
        shutil.rmtree(folder)
        assert take_down(tmp_path / "another") is None
        assert child.poll() is None
        ended = take_down(folder)
        assert ended is not None
        assert ended.killed >= 1
        child.wait(10)
        assert take_down(folder) is None
    finally:
        child.kill()
        child.wait()


def test_an_id_that_now_belongs_to_somebody_else_is_left_alone(roster: Roster) -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        seen = proc.look(stranger.pid)
        assert seen is not None
        roster.entries.append(RosterEntry("p", stranger.pid, seen.started - 1))
        assert end(roster).entries == ()
        assert stranger.poll() is None
        stranger.kill()


def test_after_a_reboot_nothing_is_ended(roster: Roster) -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        seen = proc.look(stranger.pid)
        assert seen is not None
        roster.entries.append(RosterEntry("p", stranger.pid, seen.started))
        roster.boot = "another"
        assert end(roster).entries == ()
        assert stranger.poll() is None
        stranger.kill()


def test_an_owner_that_still_starts_the_lab_is_stopped_first(roster: Roster) -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as owner:
        seen = proc.look(owner.pid)
        assert seen is not None
        roster.owner = RosterEntry("up", owner.pid, seen.started)
        assert stop_owner(roster)
        assert owner.wait(10) == -15


async def test_a_failed_program_says_why(roster: Roster, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"(?s)exit status 3.*no such cluster"):
        await roster.run(program(tmp_path, "/bin/sh", "-c", "echo no such cluster >&2; exit 3"), timeout=10)


async def test_a_program_that_has_ended_is_not_in_the_roster_any_more(roster: Roster, tmp_path: Path) -> None:
    await roster.run(program(tmp_path, "/bin/true"), timeout=10)
    again = Roster.read(roster.file)
    assert again is not None
    assert again.entries == []


def test_a_started_program_holds_nothing_of_the_starter(roster: Roster, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)  # noqa: FBT003 -- as a careless caller's descriptor would be
    roster.start([program(tmp_path, "/bin/sleep", "600")])
    os.close(writing)
    assert select.select([reading], [], [], 5)[0], "closed everywhere: end of file"
    assert os.read(reading, 1) == b""
    os.close(reading)
