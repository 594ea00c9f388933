"""What a supervisor that is installed on a host runs as root: exactly what root's file says."""

import hashlib
import os
from pathlib import Path

import pytest

from vesemir.adapters.ssh.onhost.rules import read_rules, refusal, rule_of
from vesemir.adapters.ssh.onhost.step import DEFAULT_PATH, Order

TEXT = b'systemctl restart -- "$VAR_SERVICE"'
SCRIPT = (b"sh", b"-eu", b"-c", TEXT, b"sh")
ITS_RULE = f"script {hashlib.sha256(TEXT).hexdigest()}"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="the file must be root's")


def order(*words: bytes, environment: tuple[bytes, ...] = ()) -> Order:
    return Order([b"folder", b"name", b"5", b"1", b"", b"4096", b"%d" % len(words), *words, *environment])


def rules(tmp_path: Path, text: str) -> str:
    file = tmp_path / "supervisor.rules"
    file.write_text(text)
    file.chmod(0o644)
    return str(file)


@root_only
@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (SCRIPT, ITS_RULE),
        ((b"/usr/bin/systemctl", b"restart", b"shop"), "command /usr/bin/systemctl restart shop"),
        ((b"/bin/true",), "  command   /bin/true # whatever it is for"),
        ((b"reboot",), "any"),
    ],
)
def test_what_has_its_line_is_run(tmp_path: Path, words: tuple[bytes, ...], rule: str) -> None:
    assert refusal(order(*words), rules(tmp_path, f"# a comment\n\n{rule}\n")) == ""


@root_only
@pytest.mark.parametrize(
    "words",
    [
        (*SCRIPT[:3], TEXT + b";id", b"sh"),
        (*SCRIPT, b"more"),
        (b"bash", *SCRIPT[1:]),
        (b"/usr/bin/systemctl", b"restart", b"shop", b"sshd"),
        (b"/usr/bin/systemctl", b"restart shop"),
        (b"systemctl", b"restart", b"shop"),
        (b"/usr/bin/systemctl", b"restart"),
        (b"/bin/sh", b"-c", b"id"),
        (b"any",),
    ],
)
def test_anything_else_is_not(tmp_path: Path, words: tuple[bytes, ...]) -> None:
    """Compared whole: one word more, another interpreter or another text is another command."""
    path = rules(tmp_path, f"{ITS_RULE}\ncommand /usr/bin/systemctl restart shop\n")
    assert path in refusal(order(*words), path)


@root_only
def test_the_refusal_names_the_line(tmp_path: Path) -> None:
    """So that whoever reviewed the step can copy it."""
    path = rules(tmp_path, "")
    assert refusal(order(*SCRIPT), path) == f"{path} does not have the line: {ITS_RULE}"


@root_only
@pytest.mark.parametrize("variable", [b"LD_PRELOAD=/tmp/x.so", b"PATH=/tmp", b"BASH_ENV=/tmp/x", b"IFS=x"])
def test_no_variable_makes_a_permitted_script_do_something_else(tmp_path: Path, variable: bytes) -> None:
    path = rules(tmp_path, f"{ITS_RULE}\n")
    assert "does not allow the variable" in refusal(order(*SCRIPT, environment=(variable,)), path)


@root_only
def test_a_recipes_own_variables_come_along_and_programs_are_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/tmp/mine:/usr/bin")
    asked = order(*SCRIPT, environment=(b"VAR_SERVICE=shop", b"DEBIAN_FRONTEND=noninteractive"))
    assert refusal(asked, rules(tmp_path, f"{ITS_RULE}\n")) == ""
    assert asked.cwd == b"/"
    whole = asked.whole_environment()
    assert (whole[b"PATH"], whole[b"VAR_SERVICE"]) == (DEFAULT_PATH, b"shop")


@root_only
def test_a_folder_to_work_in_is_not_the_login_users_to_choose(tmp_path: Path) -> None:
    asked = order(*SCRIPT)
    asked.cwd = b"/home/deploy"
    assert "working directory" in refusal(asked, rules(tmp_path, f"{ITS_RULE}\n"))


def test_without_the_file_nothing_is_run(tmp_path: Path) -> None:
    assert "runs nothing as root without it" in refusal(order(*SCRIPT), str(tmp_path / "absent"))


@root_only
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_counts_for_nothing(tmp_path: Path, mode: int) -> None:
    path = rules(tmp_path, "any\n")
    Path(path).chmod(mode)
    with pytest.raises(ValueError, match="nobody else may write"):
        read_rules(path)
    assert "nobody else may write" in refusal(order(*SCRIPT), path)


@root_only
def test_a_file_of_somebody_else_counts_for_nothing(tmp_path: Path) -> None:
    path = rules(tmp_path, "any\n")
    os.chown(path, 54321, 0)
    assert "must be root's" in refusal(order(*SCRIPT), path)


@pytest.mark.parametrize("words", [(b"/bin/echo", b"two words"), (b"/bin/echo", b""), (b"/bin/echo", b"#"), (b"echo",)])
def test_what_no_line_can_say_exactly_has_no_line(words: tuple[bytes, ...]) -> None:
    assert rule_of(list(words)) == b""
