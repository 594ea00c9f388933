"""Runs on a host, as a step: puts one file in its place. Everything is told by the environment (``placement.py``).

It checks what it writes, and only a complete, checked file with its final owner and mode appears at the destination,
by rename. Exit status 3: the source is not available; 4: it is not the file that was meant; 1: anything else.

Standard library only, on Python 3.6 and later: the whole text is the argument of ``python3 -c``. What it does not need
at once is imported late, and names that only mypy reads are not imported at all.
"""

import grp
import hashlib
import os
import pwd
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import IO, NoReturn

UNAVAILABLE, MISMATCH, FAILED = 3, 4, 1
PIECE_BYTES = 1 << 20
TIMEOUT_SECONDS = 30


class Placement:
    """One file and its place; ``run`` once."""

    def __init__(self, given: "Mapping[str, str]") -> None:
        self.source, self.url = given.get("VESEMIR_PLACE_SOURCE", ""), given.get("VESEMIR_PLACE_URL", "")
        self.path, self.sha256 = given["VESEMIR_PLACE_DESTINATION"], given.get("VESEMIR_PLACE_SHA256", "")
        self.mode = int(given["VESEMIR_PLACE_MODE"], 8)
        # 0: it was uploaded, so the instance has looked at its size.
        self.most = int(given.get("VESEMIR_PLACE_MAX_BYTES", "0"))
        self.owner, self.group = given.get("VESEMIR_PLACE_OWNER", ""), given.get("VESEMIR_PLACE_GROUP", "")
        self.folder, name = os.path.split(self.path)
        self.prefix = f".{name}.vesemir-"
        self.part = os.path.join(self.folder, self.prefix + str(os.getpid()))

    def run(self) -> None:
        """Ends the program with a status of its own if it cannot be done."""
        try:
            kept = self._place()
        except OSError as error:
            self._end(FAILED, f"{error.filename or self.path}: {error.strerror}")
        print("kept: it is there already" if kept else "placed")

    def _place(self) -> bool:
        """Whether the very file was there already."""
        if os.path.isdir(self.path) and not os.path.islink(self.path):
            self._end(FAILED, f"{self.path} is a folder; the destination must name a file")
        self._clear()
        uid = self._number(self.owner, lambda name: pwd.getpwnam(name).pw_uid, "user")
        gid = self._number(self.group, lambda name: grp.getgrnam(name).gr_gid, "group")
        kept = bool(self.sha256) and self._digest_there() == self.sha256
        file = os.open(self.path, os.O_RDONLY) if kept else self._written()
        if uid != -1 or gid != -1:
            os.fchown(file, uid, gid)
        os.fchmod(file, self.mode)
        os.fsync(file)
        if not kept:
            os.rename(self.part, self.path)
            os.fsync(os.open(self.folder, os.O_RDONLY))
        if self.source and os.path.lexists(self.source):
            os.unlink(self.source)
        return kept

    def _clear(self) -> None:
        """Make the folder, and remove what a try that was killed has left in it."""
        os.makedirs(self.folder, exist_ok=True)
        for name in os.listdir(self.folder):
            if name.startswith(self.prefix):
                os.unlink(os.path.join(self.folder, name))

    def _written(self) -> int:
        """The open file beside the destination, complete and checked."""
        stream, origin, length = self._opened()
        if length is not None:
            self._refuse_size(origin, length)
            self._refuse_room(origin, length)
        file = os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        seen = hashlib.sha256()
        with stream, os.fdopen(os.dup(file), "wb") as out:
            for piece in self._pieces(stream, origin, length):
                seen.update(piece)
                out.write(piece)
        if self.sha256 and seen.hexdigest() != self.sha256:
            self._end(MISMATCH, f"{origin}: sha256 is {seen.hexdigest()}, expected {self.sha256}")
        return file

    def _refuse_size(self, origin: str, size: int) -> None:
        if 0 < self.most < size:
            text = f"{origin}: has more than {self.most} bytes, which artifacts.max_bytes of the settings allows"
            self._end(UNAVAILABLE, text)

    def _refuse_room(self, origin: str, size: int) -> None:
        room = os.statvfs(self.folder)
        free = (room.f_bavail if os.geteuid() else room.f_bfree) * room.f_frsize
        if size > free:
            text = f"{origin}: has {size} bytes, and {free} are free in {self.folder}; make room there"
            self._end(FAILED, text)

    def _opened(self) -> "tuple[IO[bytes], str, int | None]":
        """(what to read from, what to call it, how many bytes it says that it has)."""
        if self.url:
            return self._downloaded()
        try:
            return open(self.source, "rb"), self.source, os.path.getsize(self.source)
        except OSError as error:
            self._end(UNAVAILABLE, f"{self.source}: {error.strerror}")

    def _downloaded(self) -> "tuple[IO[bytes], str, int | None]":
        import base64
        import http.client
        import urllib.parse
        import urllib.request

        parts = urllib.parse.urlsplit(self.url)
        login, at, place = parts.netloc.rpartition("@")
        shown = urllib.parse.urlunsplit(parts._replace(netloc=place))
        try:
            request = urllib.request.Request(shown)  # noqa: S310 - ``fetch_command`` takes http and https only
            if at:  # not sent on to wherever a redirect leads
                word = base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode("ascii")
                request.add_unredirected_header("Authorization", "Basic " + word)
            answer = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._end(UNAVAILABLE, f"{shown}: {error}; check that this host reaches it and that it is there")
        return answer, shown, _length(answer.headers.get("Content-Length"))

    def _pieces(self, stream: "IO[bytes]", origin: str, length: "int | None") -> "Iterator[bytes]":
        got = 0
        while True:
            try:
                piece = stream.read(PIECE_BYTES)
            except Exception as error:  # noqa: BLE001 - whatever the library raises, the reading is over
                self._end(UNAVAILABLE, f"{origin}: reading broke off after {got} bytes: {error}")
            if not piece:
                break
            got += len(piece)
            self._refuse_size(origin, got)
            yield piece
        if length is not None and got < length:
            self._end(UNAVAILABLE, f"{origin}: reading broke off after {got} of {length} bytes")

    def _digest_there(self) -> str:
        """Of a regular file at the destination; empty if there is none that can be read."""
        try:
            if not stat.S_ISREG(os.lstat(self.path).st_mode):
                return ""
            with open(self.path, "rb") as stream:
                seen = hashlib.sha256()
                for piece in iter(lambda: stream.read(PIECE_BYTES), b""):
                    seen.update(piece)
                return seen.hexdigest()
        except OSError:
            return ""

    def _number(self, name: str, look: "Callable[[str], int]", what: str) -> int:
        if not name:
            return -1
        try:
            return int(name) if name.isdigit() else look(name)
        except KeyError:
            self._end(FAILED, f"no such {what} on this host: {name}")

    def _end(self, status: int, text: str) -> "NoReturn":
        for path in (self.part, self.source):  # what was uploaded may hold secrets; another try uploads it again
            if path and os.path.lexists(path):
                os.unlink(path)
        sys.stderr.write(text.encode("utf-8", "backslashreplace").decode("ascii", "backslashreplace") + "\n")
        sys.exit(status)


def _length(text: "str | None") -> "int | None":
    """What a server says of it, or None: it may be missing, and no number."""
    try:
        return max(int(text or ""), 0)
    except ValueError:
        return None


if __name__ == "__main__":
    Placement(os.environ).run()
