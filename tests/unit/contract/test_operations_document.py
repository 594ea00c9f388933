"""docs/operations.md: its commands are shell, its paths and names those of docs/install.md and of the unit."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vesemir.cli.program import COMMANDS, app

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
INSTALL = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
UNIT = (ROOT / "systemd" / "vesemir.service").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]


def test_every_block_is_shell() -> None:
    assert len(BLOCKS) > 10
    done = subprocess.run(["/bin/sh", "-n"], input="\n".join(BLOCKS), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_credential_of_the_unit_has_its_procedure() -> None:
    """And each that is named is one of the unit's."""
    loaded = set(re.findall(r"^#?LoadCredential=(\w+):/etc/vesemir/credentials/\1$", UNIT, re.MULTILINE))
    named = set(re.findall(r"/etc/vesemir/credentials/(\w+)", "\n".join(LINES)))
    assert named == loaded


def test_addresses_users_and_files_are_those_of_the_installation() -> None:
    for name in {*re.findall(r"192\.0\.2\.\d+(?::\d+)?", TEXT), "vesemir_daemon", "vesemir_record", "known_hosts"}:
        assert name in INSTALL, name


def test_a_reload_is_what_the_unit_does() -> None:
    scripts = re.findall(r"^ExecReload=\+/bin/sh /opt/vesemir/current/share/vesemir/systemd/(.*)$", UNIT, re.MULTILINE)
    assert scripts == ["credentials-again %n %d", "reload-answered %n $MAINPID"]
    for script in scripts:
        assert (ROOT / "systemd" / script.split()[0]).is_file()


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("vesemir ")])
def test_commands_have_the_options_that_are_written(line: str) -> None:
    _, name, *words = shlex.split(line)
    assert name in COMMANDS
    shown = CliRunner().invoke(app, [name, "--help"], prog_name="vesemir").stdout
    for option in (word for word in words if word.startswith("--")):
        assert option in shown, f"vesemir {name} has no {option}"
