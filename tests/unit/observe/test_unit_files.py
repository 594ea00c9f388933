"""The units as systemd reads them: without a complaint, and with little that the service could reach."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "systemd"
UNITS = ("vesemir.service", "vesemir@.service")
EXPOSURE_AT_MOST = 2.0

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """As they are installed; the program that they start need not be here."""
    for name in UNITS:
        (tmp_path / name).write_text(
            (FOLDER / name).read_text().replace("/opt/vesemir/current/bin/vesemir", "/bin/true")
        )
    return tmp_path


def said(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["vesemir.service", "vesemir@a.service"])
def test_systemd_understands_the_unit(units: Path, name: str) -> None:
    assert said("systemd-analyze", "verify", "--man=no", units / name) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_the_sandbox_leaves_little(units: Path, name: str) -> None:
    """``systemd-analyze security`` counts from 0 (nothing is exposed) to 10."""
    status, text = said("systemd-analyze", "security", "--no-pager", "--offline=true", units / name)
    found = re.search(r"exposure level for \S+: ([0-9.]+)", text)
    assert found is not None, text
    print(f"{name}: exposure {found[1]}")  # noqa: T201 - the figure is what the run is asked for
    assert status == 0
    assert float(found[1]) <= EXPOSURE_AT_MOST, text


def test_ssh_has_what_it_needs() -> None:
    """Sockets of these families: the resolver asks the kernel by netlink; the notify socket is a unix one."""
    (line,) = re.findall(r"^RestrictAddressFamilies=(.*)$", (FOLDER / UNITS[0]).read_text(), re.MULTILINE)
    assert set(line.split()) == {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can make users and folders of others")
def test_the_user_and_the_folders_are_made(tmp_path: Path) -> None:
    """In a root of their own. A credential is root's alone; the settings may be read and not written by the service."""
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    assert said("systemd-sysusers", root, FOLDER / "sysusers.d" / "vesemir.conf")[0] == 0
    status, text = said("systemd-tmpfiles", root, "--create", FOLDER / "tmpfiles.d" / "vesemir.conf")
    assert status == 0, text
    assert "vesemir:x:" in (tmp_path / "etc" / "passwd").read_text()
    kept = tmp_path / "etc" / "vesemir"
    modes = {path.name: path.stat().st_mode & 0o777 for path in [kept, *kept.iterdir()]}
    assert modes == {"vesemir": 0o755, "credentials": 0o700, "recipes": 0o755, "ssh": 0o755}
    assert {path.stat().st_uid for path in kept.rglob("*")} == {0}
