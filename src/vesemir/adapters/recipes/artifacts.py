"""Which file of the instance a ``file://`` artifact is: only one below the folders that the settings name."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vesemir.domain.action import USUAL_LIMITS
from vesemir.domain.failure import FailedError, FailureCode


def local_artifact(url: str, roots: Sequence[Path], *, max_bytes: int = USUAL_LIMITS.max_bytes) -> Path:
    """The file of ``file:///absolute/path`` (or of a plain absolute path), symbolic links resolved.

    Raises ``FailedError`` (``artifact.unavailable``). A request can thus not name a file outside ``artifacts.roots``,
    neither by ``..`` nor by a link, and is not told whether such a file exists.
    """
    path = _path_of(url)
    if path is None:
        raise _refused(url, "it must be file:/// and an absolute path without .., host, query or fragment")
    resolved = Path(os.path.realpath(path))
    if not any(resolved.is_relative_to(os.path.realpath(root)) for root in roots):
        named = ", ".join(str(root) for root in roots) or "none is set"
        raise _refused(url, f"it is not below one of artifacts.roots ({named})")
    try:
        is_file = resolved.is_file()
        readable = os.access(resolved, os.R_OK)
        size = resolved.stat().st_size if is_file else 0
    except (OSError, ValueError) as error:
        raise _refused(url, f"it cannot be looked at: {error}") from error
    if not is_file:
        raise _refused(url, "there is no such file on this instance; was it published to every instance?")
    if not readable:
        raise _refused(url, "this instance may not read it; check its owner and mode")
    if size > max_bytes:
        raise _refused(url, f"it has {size} bytes, more than artifacts.max_bytes ({max_bytes}) allows")
    return resolved


def _path_of(url: str) -> str | None:
    if url.startswith("/"):
        path = url
    else:
        try:
            parts = urlsplit(url)
            path = unquote(parts.path, errors="strict")
        except ValueError:
            return None
        if parts.scheme != "file" or parts.netloc or parts.query or parts.fragment:
            return None
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        return None
    return path


def _refused(url: str, reason: str) -> FailedError:
    return FailedError(FailureCode.ARTIFACT_UNAVAILABLE, f"artifact {url} cannot be read: {reason}")
