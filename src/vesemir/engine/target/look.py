"""What a dry run asks a host about a file that a step will place: one fixed program, told everything by its
environment (``look_on_host.py``)."""

import functools
from importlib import resources

from vesemir.domain.action import FetchAction, PutAction
from vesemir.domain.step import Command

LOOK_SECONDS = 10.0
"""For one look at a host."""
UNKNOWN_STATUS = 75
"""Exit status of a look that could not find out (sysexits.h: EX_TEMPFAIL): no obstacle."""
ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".zip")
UNPACKED_FACTOR = 2
"""An archive takes about so many times its own size again when it is unpacked beside itself."""


@functools.cache
def program() -> str:
    """The text of the program, from the installed package."""
    return (resources.files("vesemir.engine.target") / "look_on_host.py").read_text(encoding="utf-8")


def size_command(action: FetchAction, *, python: str) -> Command:
    """HEAD, or one byte by GET. What it prints is the size, or an empty line."""
    asked = {"VESEMIR_LOOK_URL": action.url, "VESEMIR_LOOK_MAX_BYTES": str(action.max_bytes)}
    return _command(action, asked, python, sudo=False)


def place_look_command(action: PutAction | FetchAction, size: int | None, *, python: str) -> Command:
    """Whether the destination can be written by the user who will write it, and has room. ``size`` None: not known."""
    need = size or 0
    asked = {
        "VESEMIR_LOOK_DESTINATION": action.destination,
        "VESEMIR_LOOK_OWNER": action.owner,
        "VESEMIR_LOOK_GROUP": action.group,
        "VESEMIR_LOOK_BYTES": str(need),
        "VESEMIR_LOOK_UNPACKED_BYTES": str(UNPACKED_FACTOR * need if is_archive(action) else 0),
    }
    return _command(action, asked, python, sudo=action.sudo)


def is_archive(action: PutAction | FetchAction) -> bool:
    """By the name that it comes from."""
    return isinstance(action, FetchAction) and action.url.partition("?")[0].lower().endswith(ARCHIVES)


def _command(action: PutAction | FetchAction, asked: dict[str, str], python: str, *, sudo: bool) -> Command:
    return Command(
        argv=(python, "-I", "-S", "-c", program()),
        environment={**action.environment, **asked},
        timeout=min(action.timeout, 2 * LOOK_SECONDS),
        sudo=sudo,
        output_limit=8192,
    )
