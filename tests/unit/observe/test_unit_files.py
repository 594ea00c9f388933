"""The units as systemd reads them: without a complaint, and with little that the service could reach."""

import os
import re
import shutil
import subprocess
import sys
import threading
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


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can mount")
def test_credentials_are_copied_again_into_a_folder_that_is_mounted_read_only(tmp_path: Path) -> None:
    """Each as a whole, with its mode; what cannot be read stays, and fails the reload."""
    folder, source, tools = (tmp_path / name for name in ("folder", "source", "bin"))
    for each in (folder, source, tools):
        each.mkdir()
    for name in ("amqp_url", "http_token"):
        (folder / name).write_text("old\n")
        (folder / name).chmod(0o400)
    (source / "amqp_url").write_text("new\n")
    (tools / "systemctl").write_text(
        f"#!/bin/sh\necho '[Service]\n"
        f"LoadCredential=amqp_url:{source}/amqp_url\nLoadCredential=http_token:{source}/absent\n"
        f"LoadCredential=later:{source}/later'\n"
    )
    (tools / "systemctl").chmod(0o755)
    again = f'PATH="{tools}:$PATH" /bin/sh {FOLDER}/credentials-again vesemir.service {folder}'
    script = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && {again}"
    status, text = said("unshare", "--mount", "/bin/sh", "-c", script)
    assert (status, "absent" in text) == (1, True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"amqp_url": "new\n", "http_token": "old\n"}
    assert (folder / "amqp_url").stat().st_mode & 0o777 == 0o400


WAITING = """
import signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
print(flush=True)
signal.sigwait({signal.SIGHUP})
time.sleep(0.2)
open(sys.argv[1], "w").write(sys.argv[2])
"""


@pytest.mark.parametrize(
    ("answer", "status"),
    [("reload 2: all was read", 0), ("reload 2: recipes stays as it was: /r/a.toml:1: is no TOML", 1), ("", 1)],
)
def test_a_reload_waits_for_its_answer(tmp_path: Path, answer: str, status: int) -> None:
    """The status still ends with the earlier answer when the signal is sent; the process may go without a new one."""
    line = tmp_path / "line"
    line.write_text("works on 1 deployment; reload 1: all was read\n")
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\ncat {line}\n")
    (tmp_path / "systemctl").chmod(0o755)
    script = WAITING if answer else f"{WAITING}sys.exit()"
    words = [sys.executable, "-c", f"{script}\nsignal.pause()", str(line), f"works on 2; {answer}\n"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        daemon.stdout.readline()
        reaped = threading.Thread(target=daemon.wait)
        reaped.start()
        asked = ["/bin/sh", FOLDER / "reload-answered", "vesemir.service", str(daemon.pid)]
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
        daemon.kill()
        reaped.join()
    assert done.returncode == status
    assert done.stderr.startswith({0: "", 1: answer or "reload: no answer; look at the log"}[status])
