"""Carries out rendered steps on this machine, as the engine does on a host, so that recipes are tested for real."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from vesemir.domain.action import CheckAction, FetchAction, PutAction, RenderedStep, RunAction
from vesemir.domain.step import Command
from vesemir.engine.target.placement import fetch_command, place_command

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(command: Command, *, path: str = PATH) -> "subprocess.CompletedProcess[str]":
    """With the clean environment that the supervisor gives."""
    return subprocess.run(
        command.argv,
        env={"PATH": path, "HOME": "/", "LANG": "C.UTF-8", **command.environment},
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=command.timeout,
        check=False,
    )


def carry_out(step: RenderedStep, incoming: Path, *, path: str = PATH) -> "subprocess.CompletedProcess[str]":
    """One step that is not an HTTP or TCP check."""
    match step.action:
        case RunAction(command):
            return run(command, path=path)
        case FetchAction(url=url) as fetch if url.startswith("file://"):
            return run(place_command(fetch, upload(Path(url.removeprefix("file://")), incoming)), path=path)
        case FetchAction() as fetch:
            return run(fetch_command(fetch), path=path)
        case PutAction(content=bytes() as content) as put:
            uploaded = incoming / "uploaded"
            uploaded.write_bytes(content)
            return run(place_command(put, str(uploaded)), path=path)
        case CheckAction(probe=Command() as command):
            return run(command, path=path)
    raise NotImplementedError(step.name)


def upload(source: Path, incoming: Path) -> str:
    incoming.mkdir(exist_ok=True)
    return str(shutil.copy(source, incoming / "uploaded"))


def tree(folder: Path) -> Mapping[str, str]:
    """Every path below a folder with its content, or where its link leads."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = path.read_text(errors="surrogateescape")
    return found


def names(steps: Sequence[RenderedStep]) -> list[str]:
    return [step.name for step in steps]
