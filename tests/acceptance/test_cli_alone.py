"""The installed command where no server is: how it starts, what it says, and with which status it ends."""

import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("vesemir"))
EVENT = (
    '{"schema": "vesemir.deploy/1", "deployment_id": "d-1", "application": "shop", "environment": "production",'
    ' "version": "2.0.0", "recipe": "release", "targets": {"hosts": ["web1"]}}'
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing but what a login gives, and servers that are not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = tmp_path / "vesemir.toml"
    settings.write_text(
        f'[amqp]\nurl = "amqp://joe:sesame@127.0.0.1:{port}/"\n'
        f'[postgres]\ndsn = "postgresql://joe:sesame@127.0.0.1:{port}/vesemir"\n'
    )
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"VESEMIR_CONFIG": str(settings), "LANG": "C.UTF-8"}


def vesemir(environment: dict[str, str], *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], env=environment, input=given, capture_output=True, text=True, check=False, timeout=60
    )


def test_help_works_from_any_folder(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "--help"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("Usage: vesemir ")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("migrate",),
        ("status",),
        ("status", "d-1"),
        ("history",),
        ("logs", "d-1"),
        ("rollback", "shop", "production"),
        ("cancel", "d-1"),
        ("pause", "d-1"),
        ("resume", "d-1"),
        ("deploy", "--file", "-"),
        ("deploy", "--file", "-", "--follow"),
        ("plan", "--file", "-"),
    ],
)
def test_a_server_that_is_away_is_one_line_without_the_password(
    environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    done = vesemir(environment, *arguments, given=EVENT)
    assert done.returncode == 1
    (line,) = [each for each in (done.stdout + done.stderr).splitlines() if not each.startswith("ok ")]
    assert line.startswith(("vesemir: ", "FAIL  broker ")), line
    assert "check" in line
    assert "sesame" not in line


def test_a_line_for_everything_that_is_wrong_with_the_settings(environment: dict[str, str]) -> None:
    Path(environment["VESEMIR_CONFIG"]).write_text('[amqp]\nprefetch = "many"\nurll = "sesame"\n')
    for command in (["run"], ["status"], ["deploy", "--file", "-"]):
        done = vesemir(environment, *command, given=EVENT)
        assert done.returncode == 1
        first, second = sorted(done.stderr.splitlines())
        assert first.startswith("vesemir: settings: amqp.prefetch: "), command
        assert second.startswith("vesemir: settings: amqp.urll: unknown key"), command
        assert "sesame" not in done.stderr
    done = vesemir(environment, "check")
    assert done.returncode == 1
    assert [line[:14] for line in done.stdout.splitlines()] == ["FAIL  settings"] * 2


def test_wrong_usage_ends_with_2(environment: dict[str, str]) -> None:
    for arguments in (["deplyo"], ["status", "--nope"], ["logs"], ["deploy"], ["history", "--limit", "0"]):
        done = vesemir(environment, *arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert "Traceback" not in done.stderr


def test_a_broken_recipe_is_named_with_its_line(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "broken.toml").write_text('description = "x"\n\n[[steps]]\nname = "a"\ncomand = ["true"]\n')
    with Path(environment["VESEMIR_CONFIG"]).open("a") as settings:
        settings.write(f'[recipes]\nfolders = ["{folder}"]\n')
    done = vesemir(environment, "check")
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert any(f"{folder}/broken.toml:5: " in line for line in failed), done.stdout


def test_every_failure_code_is_explained(environment: dict[str, str]) -> None:
    done = vesemir(environment, "explain", "step.failed")
    assert done.returncode == 0
    assert done.stdout.startswith("step.failed\n\nMeaning. ")
    wrong = vesemir(environment, "explain", "step.faild")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("vesemir: step.faild is no failure code; did you mean step.failed")


def test_a_reader_that_has_enough_is_no_trouble(environment: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as broken:
        done = subprocess.run(
            [COMMAND, "schema", "--json"], env=environment, stdout=broken, stderr=subprocess.PIPE, text=True,
            check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr == ""


def test_ctrl_c_ends_it_with_130_and_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(60)
        environment["VESEMIR_AMQP__URL"] = f"amqp://127.0.0.1:{listening.getsockname()[1]}/"
        file = tmp_path / "event.json"
        file.write_text(EVENT)
        running = subprocess.Popen(
            [COMMAND, "deploy", "--file", str(file)], env=environment, stderr=subprocess.PIPE, text=True
        )
        accepted, _ = listening.accept()  # it waits for the broker's greeting now
        with accepted:
            running.send_signal(signal.SIGINT)
            _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130
    assert stderr == "vesemir: interrupted before anything was asked for\n"


@pytest.mark.parametrize(("given", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_on_a_terminal_only_where_they_are_wanted(
    environment: dict[str, str], given: dict[str, str], *, coloured: bool
) -> None:
    ours, its = pty.openpty()
    command = [COMMAND, "check"]
    running = subprocess.Popen(command, env={**environment, "TERM": "xterm", **given}, stdout=its, stderr=its)
    os.close(its)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux says EIO when the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert running.wait(60) == 1
    assert b"FAIL  broker" in shown
    assert (b"\x1b[31m" in shown) is coloured


def test_no_colours_in_a_pipe(environment: dict[str, str]) -> None:
    assert "\x1b" not in vesemir(environment, "check").stdout
