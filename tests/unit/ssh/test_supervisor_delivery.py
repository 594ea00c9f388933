"""The program that is sent: small, one line for any shell, runnable by every Python from 3.6 on."""

import ast
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

from vesemir.adapters.ssh import delivery
from vesemir.adapters.ssh.delivery import exec_request, installed_program, new_nonce, program
from vesemir.adapters.ssh.onhost.wire import GREETING, PROTOCOL, WRONG_PROTOCOL_STATUS

CHEAP = {"os", "sys", "time", "select", "fcntl", "errno", "resource", "_signal", "_ctypes"}
LATE = {"hashlib"}
"""Within a function that only a supervisor under sudo calls, where it is a file on the host."""
PYTHONS = sorted(Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python"))


def test_it_fits_into_one_argument() -> None:
    """As source and compiled; the kernel's limit is 128 KiB (MAX_ARG_STRLEN)."""
    assert len(exec_request("python3", new_nonce())) < 64 * 1024


def test_a_python_of_another_bytecode_takes_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled program, which that one could not read, is not even looked at."""
    monkeypatch.setattr(delivery, "MAGIC_NUMBER", b"\0\0\r\n")
    monkeypatch.setattr(delivery.marshal, "dumps", lambda _: b"no bytecode")
    delivery._loader.cache_clear()
    try:
        request = exec_request(sys.executable, b"abc")
    finally:
        delivery._loader.cache_clear()
    with subprocess.Popen(
        ["sh", "-c", request], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        assert started.stdout is not None
        assert started.stdout.read(len(GREETING) + 4) == GREETING + b"cba\n"
        assert started.communicate(timeout=20) == (b"", b"")


def test_no_login_shell_reads_it_differently() -> None:
    """csh and tcsh look for ``!`` even in quotes, fish for backslashes, and all end a command at a line's end. Tried
    with tcsh 6.24, fish 3.6, zsh 5.9 and ksh93u+m."""
    request = exec_request("python3", b"abc")
    assert not set(request) & set("!\\\n")
    assert request.isascii()


def test_it_is_python_3_6_without_annotations() -> None:
    tree = ast.parse(program(), feature_version=(3, 6))
    assert not any(isinstance(node, ast.AnnAssign | ast.NamedExpr | ast.Match) for node in ast.walk(tree))
    assert not any(node.annotation for node in ast.walk(tree) if isinstance(node, ast.arg))


def test_it_imports_only_what_costs_nothing() -> None:
    imported = [
        name.name for node in ast.walk(ast.parse(program())) if isinstance(node, ast.Import) for name in node.names
    ]
    assert set(imported) <= CHEAP | LATE
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(ast.parse(program())))


def test_no_two_parts_use_the_same_name() -> None:
    names: Counter[str] = Counter()
    for node in ast.parse(program()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] += 1
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    assert [name for name, times in names.items() if times > 1 and name != "PROGRAM"] == []


def test_a_strange_path_of_python_stays_one_word() -> None:
    words = shlex.split(exec_request("/opt/my python/bin/python3", b"n"))
    assert words[:5] == ["exec", "/opt/my python/bin/python3", "-I", "-S", "-c"]


@pytest.mark.parametrize("python", PYTHONS or [Path("/usr/bin/python3")], ids=lambda path: path.parts[-3])
def test_it_starts_and_greets(python: Path) -> None:
    """And ends by itself when its input closes."""
    words = ["sh", "-c", exec_request(str(python), b"abc")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.read(len(GREETING) + 4) == GREETING + b"cba\n"
        rest = started.communicate(timeout=20)
    assert (started.returncode, *rest) == (0, b"", b"")


@pytest.fixture
def installed(tmp_path: Path) -> PurePosixPath:
    """The program as a file of a host's."""
    file = tmp_path / "supervisor.py"
    file.write_text(installed_program())
    file.chmod(0o755)
    return PurePosixPath(file)


@pytest.mark.parametrize("python", PYTHONS or [Path("/usr/bin/python3")], ids=lambda path: path.parts[-3])
def test_installed_on_a_host_it_greets_as_well(python: Path, installed: PurePosixPath) -> None:
    words = ["sh", "-c", exec_request(str(python), b"abc", installed=installed)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.read(len(GREETING) + 4) == GREETING + b"cba\n"
        rest = started.communicate(timeout=20)
    assert (started.returncode, *rest) == (0, b"", b"")


def test_installed_it_refuses_a_protocol_that_it_does_not_speak(installed: PurePosixPath) -> None:
    """A file on a host may be of another release than the instance."""
    request = exec_request("python3", b"abc", installed=installed)
    assert request.endswith(f" abc {PROTOCOL}")
    words = ["sh", "-c", request.removesuffix(PROTOCOL) + "99"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (WRONG_PROTOCOL_STATUS, "")
    assert f"speaks protocol {PROTOCOL}, and this instance speaks 99" in done.stderr
