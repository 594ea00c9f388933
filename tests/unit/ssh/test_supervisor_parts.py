"""The supervisor's parts, in this process: frames, names, markers, epochs, the tag."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.adapters.ssh.naming import file_name, marker_names
from vesemir.adapters.ssh.onhost import kernel, records, wire
from vesemir.adapters.ssh.onhost.nested import sudo_advice
from vesemir.adapters.ssh.onhost.step import Order
from vesemir.adapters.ssh.onhost.tree import end_tagged
from vesemir.domain.step import Direction, StepKey


@given(st.lists(st.binary(max_size=50)))
def test_fields_come_back_as_they_were(fields: list[bytes]) -> None:
    assert wire.unpack(wire.pack(fields)) == fields


@given(st.lists(st.tuples(st.sampled_from([b"R", b"O"]), st.binary(max_size=80))), st.integers(1, 30))
def test_frames_come_back_however_they_are_cut(frames: list[tuple[bytes, bytes]], size: int) -> None:
    stream = b"".join(wire.frame(*one) for one in frames)
    unframer = wire.Unframer()
    got = [one for place in range(0, len(stream), size) for one in unframer.feed(stream[place : place + size])]
    assert got == frames


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than any"):
        wire.Unframer().feed(b"\xff" * 10)
    with pytest.raises(ValueError, match="longer than its frame"):
        wire.unpack(b"\0\0\0\x09abc")


@given(st.text(), st.text())
def test_names_of_files_are_safe_and_differ(one: str, other: str) -> None:
    name = file_name(one)
    assert records.checked_name(name.encode("ascii")) == name
    assert (file_name(other) == name) == (other == one)
    records.checked_name(marker_names(StepKey(one, Direction.BACK, other, 3))[1])


def test_a_name_is_readable() -> None:
    assert file_name("shop/production") == "shop%2Fproduction"
    assert marker_names(StepKey("d-1", Direction.FORWARD, "restart", 2)) == (b"d-1", b"forward.restart.2")


@pytest.mark.parametrize("name", [b"", b"..", b".hidden", b"a/b", b"a\0b", b"x" * 300])
def test_a_name_that_leads_elsewhere_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="not a file's name"):
        records.checked_name(name)


@pytest.fixture
def state(tmp_path: Path) -> records.State:
    state = records.State(str(tmp_path / "state"))
    state.prepare()
    return state


def test_the_highest_epoch_wins(state: records.State) -> None:
    first, second = records.Lane(state, b"lane", 4), records.Lane(state, b"lane", 5)
    first.raise_epoch()
    assert not first.superseded()
    second.raise_epoch()
    assert first.superseded()
    with pytest.raises(records.EpochError, match="epoch 5"):
        records.Lane(state, b"lane", 4).raise_epoch()


def test_the_lock_is_had_once_and_says_by_whom(state: records.State) -> None:
    first, second = records.Lane(state, b"lane", 1), records.Lane(state, b"lane", 1)
    assert first.try_lock()
    first.sign(99)
    assert not second.try_lock()
    assert second.holder() == (1, os.getpid(), kernel.start_time(os.getpid()), 99)
    first.leave()
    assert second.try_lock()
    assert second.holder() == (0, 0, 0, 0)
    second.leave()


def test_a_marker_tells_what_is_known(state: records.State) -> None:
    marker = state.marker(b"d1", b"forward.install.1")
    assert records.read_trace(marker) == [b"never"]
    records.mark_started(marker, 3, 7)
    assert records.read_trace(marker) == [b"broken_off"]
    fields = [b"failed", b"3", b"10", b"0.5", b"0", b"1", b"two\nlines"]
    records.mark_result(marker, fields)
    assert records.read_trace(marker) == [b"finished", *fields[:6], b"two lines"]
    records.mark_started(marker, 4, 7)
    assert records.read_trace(marker) == [b"broken_off"]


def test_that_a_step_began_survives_a_power_cut(state: records.State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marker, its name and its folder's are on the disk before the step may run; a result is not waited for."""
    marker = state.marker(b"d1", b"forward.swap.1")
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    records.mark_started(marker, 7, 99)
    steps = Path(marker).parent.parent
    assert synced == [str(steps), marker + ".started", str(steps / "d1")]
    records.mark_result(marker, [b"succeeded", b"0", b"0", b"0.1", b"0", b"1", b""])
    assert len(synced) == 3
    assert sorted(path.name for path in (steps / "d1").iterdir()) == ["forward.swap.1.result", "forward.swap.1.started"]


def test_old_markers_and_uploads_are_removed_once_a_day(state: records.State) -> None:
    for name in ("old", "new"):
        records.mark_started(state.marker(name.encode(), b"forward.x.1"), 1, 1)
        Path(state.folder, "incoming", name).write_bytes(b"")
    long_ago = time.time() - records.KEPT_SECONDS - 10
    for path in ("steps/old", "incoming/old"):
        os.utime(Path(state.folder, path), (long_ago, long_ago))

    state.prune()
    assert [[path.name for path in Path(state.folder, part).iterdir()] for part in ("steps", "incoming")] == [
        ["new"],
        ["new"],
    ]

    os.utime(Path(state.folder, "steps/new"), (long_ago, long_ago))
    state.prune()
    assert [path.name for path in Path(state.folder, "steps").iterdir()] == ["new"]


def test_the_tag_is_inherited_by_what_left_everything_else_behind() -> None:
    tag = kernel.new_tag()
    program = (
        "import os, resource, subprocess, sys\n"
        f"resource.setrlimit(10, ({tag}, resource.getrlimit(10)[1]))\n"
        "subprocess.Popen(['sleep', '60'], env={}, start_new_session=True, close_fds=True,"
        " stdin=-3, stdout=-3, stderr=-3)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert len(kernel.tagged(tag)) == 1
    assert end_tagged(tag)
    assert kernel.tagged(tag) == []


def test_an_order_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="without words"):
        Order([b"d", b"m", b"1.0", b"0", b"", b"10", b"0"])


@pytest.mark.parametrize(
    ("wording", "advice"),
    [
        ("sudo: sorry, you must have a tty to run sudo", "'Defaults:deploy !requiretty'"),
        ("sudo: a password is required", "'deploy ALL=(root) NOPASSWD: ALL'"),
        ("cannot run sudo: No such file or directory", "install sudo"),
    ],
)
def test_what_sudo_says_decides_what_is_advised(wording: str, advice: str) -> None:
    assert advice in sudo_advice(wording, "deploy", "ALL")
