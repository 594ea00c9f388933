"""What a dry run finds out about the files that steps will place: once for a deployment, however many targets it has.

A file of this instance is hashed here. What is downloaded is asked for on the target that is looked at first. Who asks
first is the one that fails for it; the others are only told the size.
"""

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from vesemir.domain.action import FetchAction, PutAction
from vesemir.domain.failure import FailedError, FailureCode

PIECE_BYTES = 1 << 20


class ArtifactLook:
    """``artifact`` tells which file of this instance an address means; raises ``FailedError``."""

    def __init__(self, artifact: Callable[[str], Path]) -> None:
        self._artifact = artifact
        self._sizes: dict[tuple[str, str], int | None] = {}
        self._turn = asyncio.Lock()

    async def size(
        self, action: PutAction | FetchAction, ask: Callable[[FetchAction], Awaitable[int | None]]
    ) -> int | None:
        """Bytes, or None where that is not known. ``ask`` asks a host for what it will download.

        Raises ``FailedError`` (``artifact.unavailable``, ``artifact.checksum_mismatch``), for the same file only once.
        """
        if isinstance(action, PutAction) and action.source is None:
            return len(action.content or b"")
        origin = action.url if isinstance(action, FetchAction) else action.source or ""
        known = origin, action.sha256
        async with self._turn:
            if known not in self._sizes:
                self._sizes[known] = None
                self._sizes[known] = await self._found_out(action, origin, ask)
            return self._sizes[known]

    async def _found_out(
        self, action: PutAction | FetchAction, origin: str, ask: Callable[[FetchAction], Awaitable[int | None]]
    ) -> int | None:
        if isinstance(action, FetchAction) and not action.url.startswith("file://"):
            return await ask(action)
        file = self._artifact(origin)
        try:
            size, digest = await _hashed(file)
        except OSError as error:
            text = f"{origin} cannot be read: {error.strerror or error}; check artifacts.roots and the file's mode"
            raise FailedError(FailureCode.ARTIFACT_UNAVAILABLE, text) from error
        if action.sha256 and digest != action.sha256:
            text = f"{origin}: sha256 is {digest}, expected {action.sha256} ({size} bytes, read on this instance)"
            raise FailedError(FailureCode.ARTIFACT_CHECKSUM_MISMATCH, text)
        return size


async def _hashed(file: Path) -> tuple[int, str]:
    """(bytes, SHA-256), read in a thread that ends when this does. Raises ``OSError``."""
    stop = threading.Event()

    def read() -> tuple[int, str]:
        seen, size = hashlib.sha256(), 0
        with file.open("rb") as stream:
            while not stop.is_set() and (piece := stream.read(PIECE_BYTES)):
                seen.update(piece)
                size += len(piece)
        return size, seen.hexdigest()

    try:
        return await asyncio.to_thread(read)
    finally:
        stop.set()
