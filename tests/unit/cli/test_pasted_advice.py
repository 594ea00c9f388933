"""Every command that is printed for people can be pasted: alone on its line, whole at any width, and sh takes it."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import asyncssh
import pytest
from rich.console import RenderableType
from tests.fakes.views import a_drained_view, a_target_view, a_view
from tests.unit.cli.scripted import failure

from vesemir.adapters.ssh.trouble import LoginTry, translated
from vesemir.cli.advice import INDENT
from vesemir.cli.next_steps import next_steps, out_of_traffic, paused_steps
from vesemir.cli.output import paragraph, show, text
from vesemir.cli.prose import lines_of
from vesemir.domain.failure import FailureCode, commands_in, left_ready
from vesemir.domain.states import TargetState
from vesemir.domain.target import Target
from vesemir.engine.ports.views import FailureView, TargetView
from vesemir.settings import SshSettings
from vesemir.shipped import runbook_file

RUNBOOK = runbook_file().read_text(encoding="utf-8")
BLOCKS = re.compile(r"^```[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
WIDEST = 60
"""Of a command within a sentence: a longer one stands on a line of its own."""
SUDO = "`echo 'deploy ALL=(root) NOPASSWD: /usr/local/lib/vesemir/supervisor.py' >> /etc/sudoers.d/vesemir`"


def blocks() -> list[str]:
    return [line for block in BLOCKS.findall(RUNBOOK) for line in block.splitlines() if not line.startswith("#")]


def sentences() -> list[str]:
    return INLINE.findall(BLOCKS.sub("", RUNBOOK))


def check_shell(*commands: str) -> None:
    """Each by itself, all in one process."""
    script = "".join(f"if false; then\n{command}\nfi\n" for command in commands)
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.fixture(params=["80", "40"])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow, and one that rich takes for a terminal."""
    monkeypatch.setenv("COLUMNS", request.param)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


def printed(capsys: pytest.CaptureFixture[str], parts: Iterator[RenderableType]) -> list[str]:
    show(*parts)
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]


def commands(lines: list[str]) -> list[str]:
    """What is indented, and each below the words that say what it does."""
    found = [number for number, line in enumerate(lines) if line.startswith(INDENT)]
    assert all(lines[number - 1].endswith(":") or number - 1 in found for number in found), lines
    return [lines[number].removeprefix(INDENT) for number in found]


def failed(name: str, code: str, message: str = "no") -> TargetView:
    told = FailureView.of_json(failure(code, message))
    return replace(a_target_view(name, TargetState.FAILED), failure=told, touched=True)


def drained(name: str, *, agent: bool = True) -> TargetView:
    box = {"admin": "ready", "user_weight": 100, "configured_weight": 100, "agent": agent, "up": True, "process_id": 1}
    traffic = {"server": name, "boxes": {"lb1": box}}
    return replace(failed(name, "step.failed"), traffic=traffic, left_drained=a_drained_view(name))


@pytest.mark.usefixtures("terminal")
def test_one_command_gives_all_of_them_their_traffic_back(capsys: pytest.CaptureFixture[str]) -> None:
    view = a_view(request={"haproxy": {"backend": "shop", "server": "{name}"}})
    lines = printed(capsys, out_of_traffic(view, [drained(f"web{number}") for number in range(1, 10)]))
    (found,) = commands(lines)
    names = " ".join(f"web{number}" for number in range(1, 10))
    assert found == f"vesemir ready {names} --application shop --environment production"
    check_shell(found)


def test_one_that_regressed_is_left_ready_and_needs_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    view = a_view(request={"haproxy": {"backend": "shop", "server": "{name}"}})
    told = FailureView.of_json(failure("health.failed", f"web1 is not UP any more; {left_ready('web1')}"))
    assert printed(capsys, out_of_traffic(view, [replace(drained("web1"), failure=told, left_drained=None)])) == []


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("code", list(FailureCode))
def test_what_to_do_about_each_failure_can_be_pasted(capsys: pytest.CaptureFixture[str], code: FailureCode) -> None:
    target = failed("web1", code.value, f"sudo: no: {SUDO}")
    name = "20261127T140212.345-5f0c9a1b-and-more-of-it"
    found = commands(printed(capsys, next_steps(name, FailureView.of_json(failure(code.value)), [target])))
    assert found[0] == SUDO.strip("`")
    assert f"vesemir explain {code.value}" in found
    assert ("--target web1" in " ".join(found)) == code.value.startswith(
        ("step.", "health.", "artifact.", "target.timed_out", "deployment.timed_out")
    )
    check_shell(*found)


@pytest.mark.usefixtures("terminal")
def test_what_ends_a_pause_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands(printed(capsys, paused_steps("d1"))) == ["vesemir resume d1", "vesemir cancel d1"]


@pytest.mark.parametrize("port", [22, 2201])
def test_the_commands_of_a_host_key_that_does_not_fit(port: int) -> None:
    target = Target("web1", "10.0.0.1", port, "deploy", {}, "inventory")
    tried = LoginTry("deploy", pinned_as=None, pinned=["ssh-ed25519"])
    told = translated(asyncssh.HostKeyNotVerifiable("no"), target, tried, SshSettings())
    assert told.failure.code is FailureCode.SSH_HOST_KEY_MISMATCH
    found = commands_in(told.failure.message)
    assert [each.split()[:2] for each in found] == [["ssh-keygen", "-F"], ["ssh-keygen", "-lf"]]
    check_shell(*found)


def test_a_host_s_own_words_are_nothing_to_type() -> None:
    """They stand in the same message."""
    for words in (
        "`rm -rf ~`",
        "`ssh-keygen -F a -f b; rm -rf ~`",
        "`echo 'x ALL=(root) NOPASSWD: ALL' >> /etc/passwd`",
    ):
        assert commands_in(f"its last line: {words}") == ()


@pytest.mark.usefixtures("terminal")
def test_a_command_within_a_sentence_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "Some words before it, and then `vesemir status d1 --json`, and some more of them after it, to fill two lines."
    )
    lines = printed(capsys, iter([paragraph(text(words))]))
    assert len(lines) > 1
    assert any("`vesemir status d1 --json`" in line for line in lines), lines


def test_no_command_of_the_runbook_is_broken_in_its_source() -> None:
    assert [each for each in sentences() if "\n" in each] == []
    assert [each for each in sentences() if len(each) > WIDEST or " | " in each or "; " in each] == []


def test_each_line_of_the_runbook_s_blocks_is_a_command_and_nothing_else() -> None:
    assert [line for line in blocks() if line.endswith("\\") or " # " in line or line != line.strip()] == []
    assert len(blocks()) > 40
    check_shell(*blocks())


def test_explain_prints_the_runbook_s_commands_whole() -> None:
    lines = [line.plain for line in lines_of(RUNBOOK, width=80)]
    assert {f"{INDENT}{line}" for line in blocks()} <= set(lines)
    shown = "\n".join(lines)
    assert [each for each in sentences() if each not in shown] == []
    assert max(len(line) for line in lines if not line.startswith(INDENT)) <= 80
