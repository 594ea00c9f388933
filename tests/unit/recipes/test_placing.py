"""Files put in place: the exact command, and the fixed program run for real with the clean environment of a host."""

import ast
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import run

from vesemir.domain.action import FetchAction, PutAction
from vesemir.domain.step import Command
from vesemir.engine.target.placement import fetch_command, place_command, program

CONTENT = b"one\0two\n" * 1000
PYTHONS = sorted(Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python"))
SHA = hashlib.sha256(CONTENT).hexdigest()


def fetch(url: str, destination: Path, *, sha256: str = SHA, mode: int = 0o640) -> FetchAction:
    return FetchAction(url, str(destination), mode, "", "", sha256, sudo=False, timeout=20)


def put(destination: Path, *, owner: str = "", group: str = "", sha256: str = SHA) -> PutAction:
    return PutAction(str(destination), None, CONTENT, 0o644, owner, group, sha256, sudo=True, timeout=7)


def hurried(command: Command) -> Command:
    """With pauses of a hundredth."""
    *words, text = command.argv
    assert "FIRST_PAUSE = 0.5\n" in text
    return replace(command, argv=(*words, text.replace("FIRST_PAUSE = 0.5\n", "FIRST_PAUSE = 0.005\n")))


@pytest.fixture
def uploaded(tmp_path: Path) -> Path:
    file = tmp_path / "uploaded"
    file.write_bytes(CONTENT)
    return file


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) + (100 if self.path == "/short" else 0)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it overrides
        pass


@contextmanager
def served(handler: type[Site]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def site() -> Iterator[str]:
    with served(Site) as address:
        yield address


def test_the_command_is_fixed_and_everything_variable_is_in_its_environment() -> None:
    command = place_command(put(Path("/etc/shop.conf"), owner="shop", group="adm"), "/root/.vesemir/incoming/x")
    assert command.argv == ("python3", "-I", "-S", "-c", program())
    assert command.environment == {
        "VESEMIR_PLACE_SOURCE": "/root/.vesemir/incoming/x",
        "VESEMIR_PLACE_DESTINATION": "/etc/shop.conf",
        "VESEMIR_PLACE_MODE": "0644",
        "VESEMIR_PLACE_OWNER": "shop",
        "VESEMIR_PLACE_GROUP": "adm",
        "VESEMIR_PLACE_SHA256": SHA,
    }
    assert (command.sudo, command.timeout) == (True, 7)


def test_a_download_differs_only_by_its_url() -> None:
    command = fetch_command(fetch("https://a/b", Path("/x")))
    assert command.environment["VESEMIR_PLACE_URL"] == "https://a/b"
    assert command.environment["VESEMIR_PLACE_SECONDS"] == "20"
    assert "VESEMIR_PLACE_SOURCE" not in command.environment


def test_a_file_url_is_never_read_on_the_host() -> None:
    with pytest.raises(ValueError, match="uploaded"):
        fetch_command(fetch("file:///etc/shadow", Path("/x")))


def test_the_program_is_python_3_6_and_needs_the_standard_library_only() -> None:
    tree = ast.parse(program(), feature_version=(3, 6))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.partition(".")[0] for node in imports for name in imported(node)}
    assert names <= sys.stdlib_module_names


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


@pytest.mark.parametrize("python", PYTHONS or [Path("/usr/bin/python3")], ids=lambda path: path.parts[-3])
def test_it_runs_on_every_python_that_a_host_may_have(python: Path, tmp_path: Path, uploaded: Path, site: str) -> None:
    """An upload, then a download in its place, then a download of something else."""
    file = tmp_path / "file"
    other = fetch_command(fetch(f"{site}/file", file, sha256="1" * 64), python=str(python))
    placed = run(place_command(put(file, sha256=""), str(uploaded), python=str(python)))
    again = run(fetch_command(fetch(f"{site}/file", file), python=str(python)))
    refused = run(other)
    assert (placed.returncode, placed.stdout, placed.stderr) == (0, "placed\n", "")
    assert (again.returncode, again.stdout, again.stderr) == (0, "kept: it is there already\n", "")
    assert (refused.returncode, file.read_bytes()) == (4, CONTENT)


def test_an_upload_gets_to_its_place_with_its_mode_and_leaves_nothing_behind(tmp_path: Path, uploaded: Path) -> None:
    destination = tmp_path / "new" / "sub" / "it's $(here).bin"
    done = run(place_command(fetch("file:///x", destination), str(uploaded)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "placed\n", "")
    assert destination.read_bytes() == CONTENT
    assert destination.stat().st_mode & 0o7777 == 0o640
    assert [path.name for path in destination.parent.iterdir()] == [destination.name]
    assert not uploaded.exists()


def test_another_content_is_a_mismatch_and_the_old_file_stays(tmp_path: Path, uploaded: Path) -> None:
    destination = tmp_path / "file"
    destination.write_text("old")
    done = run(place_command(fetch("file:///x", destination, sha256="0" * 64), str(uploaded)))
    assert done.returncode == 4
    assert SHA in done.stderr
    assert destination.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "the upload may hold secrets: it goes too"


def test_doing_it_again_keeps_what_is_there_even_without_the_upload(tmp_path: Path, uploaded: Path) -> None:
    destination = tmp_path / "file"
    command = place_command(fetch("file:///x", destination), str(uploaded))
    assert run(command).returncode == 0
    destination.chmod(0o600)
    inode = destination.stat().st_ino
    done = run(command)
    assert (done.returncode, done.stdout) == (0, "kept: it is there already\n")
    assert (destination.stat().st_ino, destination.stat().st_mode & 0o777) == (inode, 0o640)


def test_what_a_killed_try_left_is_cleared_away(tmp_path: Path, uploaded: Path) -> None:
    (tmp_path / ".file.vesemir-123").write_text("half")
    assert run(place_command(fetch("file:///x", tmp_path / "file"), str(uploaded))).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_deployments_that_place_one_file_at_once_both_succeed(tmp_path: Path, uploaded: Path) -> None:
    """The second clears away what a killed try left, and not what the first one is still writing."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Site):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:10])
            begun.set()
            go_on.wait(30)
            self.wfile.write(CONTENT[10:])

    with served(Slow) as site, ThreadPoolExecutor(1) as beside:
        first = beside.submit(run, fetch_command(fetch(f"{site}/file", tmp_path / "file")))
        assert begun.wait(30)
        second = run(place_command(put(tmp_path / "file"), str(uploaded)))
        go_on.set()
        done = first.result(30)
    assert (second.returncode, second.stderr) == (0, "")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_at_the_destination_is_replaced_and_not_followed(tmp_path: Path, uploaded: Path) -> None:
    (tmp_path / "victim").write_bytes(CONTENT)
    (tmp_path / "file").symlink_to("victim")
    assert run(place_command(fetch("file:///x", tmp_path / "file"), str(uploaded))).returncode == 0
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "victim").read_bytes() == CONTENT


def test_an_unknown_owner_and_a_folder_as_destination_are_told(tmp_path: Path, uploaded: Path) -> None:
    done = run(place_command(put(tmp_path / "file", owner="no-such-user-here"), str(uploaded)))
    assert (done.returncode, done.stderr) == (1, "no such user on this host: no-such-user-here\n")
    done = run(place_command(put(tmp_path), str(uploaded)))
    assert done.returncode == 1
    assert "is a folder" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_is_set_before_the_file_appears(tmp_path: Path, uploaded: Path) -> None:
    assert run(place_command(put(tmp_path / "file", owner="nobody", group="12"), str(uploaded))).returncode == 0
    assert (tmp_path / "file").owner() == "nobody"
    assert (tmp_path / "file").stat().st_gid == 12


def test_a_missing_upload_is_unavailable(tmp_path: Path) -> None:
    done = run(place_command(fetch("file:///x", tmp_path / "file"), str(tmp_path / "none")))
    assert (done.returncode, done.stderr) == (3, f"{tmp_path}/none: No such file or directory\n")


def test_a_download_is_checked_and_put_in_place(tmp_path: Path, site: str) -> None:
    done = run(fetch_command(fetch(f"{site}/file", tmp_path / "file")))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "words"), [("/gone", "404"), ("/short", f"broke off after {len(CONTENT)} of {len(CONTENT) + 100}")]
)
def test_a_download_that_fails_is_unavailable(tmp_path: Path, site: str, path: str, words: str) -> None:
    done = run(hurried(fetch_command(fetch(site + path, tmp_path / "file"))))
    assert done.returncode == 3
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    done = run(hurried(fetch_command(fetch("http://127.0.0.1:1/file", tmp_path / "file"))))
    assert done.returncode == 3
    assert done.stdout.count("Connection refused>; again in ") == 6
    assert "check that this host reaches it" in done.stderr


def test_a_download_of_something_else_is_a_mismatch(tmp_path: Path, site: str) -> None:
    assert run(fetch_command(fetch(f"{site}/file", tmp_path / "file", sha256="1" * 64))).returncode == 4
