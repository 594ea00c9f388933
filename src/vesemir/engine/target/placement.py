"""Placing a file on a host: one fixed program (``place_on_host.py``), told everything by its environment, run like any
other step. It is Python because the supervisor needs that on the host anyway.
"""

import functools
from importlib import resources

from vesemir.domain.action import FetchAction, PutAction
from vesemir.domain.step import Command


@functools.cache
def program() -> str:
    """The text of the program, from the installed package."""
    return (resources.files("vesemir.engine.target") / "place_on_host.py").read_text(encoding="utf-8")


def place_command(action: PutAction | FetchAction, uploaded_path: str, *, python: str = "python3") -> Command:
    """Put a file that was uploaded to the host in its place; the uploaded one is gone afterwards."""
    return _command(action, {"VESEMIR_PLACE_SOURCE": uploaded_path}, python)


def fetch_command(action: FetchAction, *, python: str = "python3") -> Command:
    """Download on the host (proxies come from the step's ``environment``), unless the very file is there already.

    It is tried again, within the step's time, when that may help.

    Raises ``ValueError`` for a ``file://`` artifact, which the instance reads and uploads.
    """
    if not action.url.startswith(("http://", "https://")):
        raise ValueError(f"{action.url} is not fetched on the target but uploaded to it")
    origin = {
        "VESEMIR_PLACE_URL": action.url,
        "VESEMIR_PLACE_MAX_BYTES": str(action.max_bytes),
        "VESEMIR_PLACE_SECONDS": f"{action.timeout:g}",
    }
    return _command(action, origin, python)


def _command(action: PutAction | FetchAction, origin: dict[str, str], python: str) -> Command:
    return Command(
        argv=(python, "-I", "-S", "-c", program()),
        environment={
            **action.environment,
            **origin,
            "VESEMIR_PLACE_DESTINATION": action.destination,
            "VESEMIR_PLACE_MODE": f"{action.mode:04o}",
            "VESEMIR_PLACE_OWNER": action.owner,
            "VESEMIR_PLACE_GROUP": action.group,
            "VESEMIR_PLACE_SHA256": action.sha256,
        },
        timeout=action.timeout,
        sudo=action.sudo,
    )
