"""Runs on a host, as a step: puts one file in its place. Everything is told by the environment (``placement.py``).

It checks what it writes, and only a complete, checked file with its final owner and mode appears at the destination,
by rename. Exit status 3: the source is not available; 4: it is not the file that was meant; 1: anything else.
A download that may go better at another try is tried again, within the step's time, from where it broke off.

Standard library only, on Python 3.6 and later: the whole text is the argument of ``python3 -c``. What it does not need
at once is imported late, and names that only mypy reads are not imported at all.
"""

import fcntl
import grp
import hashlib
import os
import pwd
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import http.client
    import urllib.error
    import urllib.request
    from collections.abc import Callable, Mapping
    from typing import IO, NoReturn

UNAVAILABLE, MISMATCH, FAILED = 3, 4, 1
PIECE_BYTES = 1 << 18
TIMEOUT_SECONDS = 30
FIRST_PAUSE = 0.5
MOST_VAIN_TRIES = 7  # one after the other that bring nothing: half a minute
PART, NO_SUCH_PART, LEAST_OF_SERVER = 206, 416, 500
WORTH_ANOTHER_TRY = (408, 425, 429)  # and all of the server


class PassingError(Exception):
    """It may go better at another try. With: why, and after how many seconds the server wants it or None."""


class Content:
    """What was written beside the destination."""

    def __init__(self, out: "IO[bytes]") -> None:
        self.out = out
        self.clear()

    def clear(self) -> None:
        self.out.seek(0)
        self.out.truncate()
        self.size, self.start, self.seen = 0, b"", hashlib.sha256()

    def add(self, piece: bytes) -> None:
        self.start = self.start or piece[:64]
        self.seen.update(piece)
        self.out.write(piece)
        self.size += len(piece)

    def is_page(self) -> bool:
        return self.start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))


class Placement:
    """One file and its place; ``run`` once."""

    def __init__(self, given: "Mapping[str, str]") -> None:
        self.source, self.url = given.get("VESEMIR_PLACE_SOURCE", ""), given.get("VESEMIR_PLACE_URL", "")
        self.path, self.sha256 = given["VESEMIR_PLACE_DESTINATION"], given.get("VESEMIR_PLACE_SHA256", "")
        self.mode = int(given["VESEMIR_PLACE_MODE"], 8)
        # 0: it was uploaded, so the instance has looked at its size.
        self.most = int(given.get("VESEMIR_PLACE_MAX_BYTES", "0"))
        self.until = time.monotonic() + float(given.get("VESEMIR_PLACE_SECONDS", "300"))
        self.owner, self.group = given.get("VESEMIR_PLACE_OWNER", ""), given.get("VESEMIR_PLACE_GROUP", "")
        self.folder, name = os.path.split(self.path)
        self.prefix = f".{name}.vesemir-"
        self.part = os.path.join(self.folder, self.prefix + str(os.getpid()))

    def run(self) -> None:
        """Ends the program with a status of its own if it cannot be done."""
        try:
            kept = self._place()
        except OSError as error:
            self.end(FAILED, f"{error.filename or self.path}: {error.strerror}")
        print("kept: it is there already" if kept else "placed")

    def _place(self) -> bool:
        """Whether the very file was there already."""
        if os.path.isdir(self.path) and not os.path.islink(self.path):
            self.end(FAILED, f"{self.path} is a folder; the destination must name a file")
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
        """Make the folder, and remove what a try that was killed has left in it.

        What is locked belongs to a try that lives: another deployment may place the same file at the same time.
        """
        os.makedirs(self.folder, exist_ok=True)
        for name in os.listdir(self.folder):
            if name.startswith(self.prefix):
                self._remove_abandoned(os.path.join(self.folder, name))

    def _remove_abandoned(self, path: str) -> None:
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # gone by now, or of another user, who may still write it
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            os.close(file)

    def _begun(self) -> int:
        """A new file beside the destination, locked as long as this program lives."""
        file = os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)  # another try removed it before it was locked
        return self._begun()

    def _written(self) -> int:
        """The open file beside the destination, complete and checked."""
        file = self._begun()
        with os.fdopen(os.dup(file), "wb") as out:
            content = Content(out)
            origin = Download(self, content).run() if self.url else self._copy(content)
        found = content.seen.hexdigest()
        if self.sha256 and found != self.sha256:
            page = "; it looks like an HTML page: the server's words instead of the file" if content.is_page() else ""
            self.end(MISMATCH, f"{origin}: sha256 is {found}, expected {self.sha256}{page}")
        return file

    def _copy(self, content: Content) -> str:
        try:
            stream = open(self.source, "rb")  # noqa: SIM115 - only this may fail as unavailable
        except OSError as error:
            self.end(UNAVAILABLE, f"{self.source}: {error.strerror}")
        with stream:
            self.refuse_room(self.source, os.path.getsize(self.source))
            for piece in iter(lambda: stream.read(PIECE_BYTES), b""):
                content.add(piece)
        return self.source

    def refuse_size(self, origin: str, size: int) -> None:
        if 0 < self.most < size:
            text = f"{origin}: has more than {self.most} bytes, which artifacts.max_bytes of the settings allows"
            self.end(UNAVAILABLE, text)

    def refuse_room(self, origin: str, size: int) -> None:
        room = os.statvfs(self.folder)
        free = (room.f_bavail if os.geteuid() else room.f_bfree) * room.f_frsize
        if size > free:
            text = f"{origin}: has {size} bytes, and {free} are free in {self.folder}; make room there"
            self.end(FAILED, text)

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
            self.end(FAILED, f"no such {what} on this host: {name}")

    def end(self, status: int, text: str) -> "NoReturn":
        for path in (self.part, self.source):  # what was uploaded may hold secrets; another try uploads it again
            if path and os.path.lexists(path):
                os.unlink(path)
        sys.stderr.write(_ascii(text) + "\n")
        sys.exit(status)


class Download:
    """Of one address, into ``content``; ``place`` says what is too large and ends the program."""

    def __init__(self, place: Placement, content: Content) -> None:
        import urllib.parse

        parts = urllib.parse.urlsplit(place.url)
        self.login, _, host = parts.netloc.rpartition("@")
        self.shown = urllib.parse.urlunsplit(parts._replace(netloc=host))
        self.place, self.content = place, content
        self.validator = ""  # of the content that was begun: what makes sure that the rest belongs to it

    def run(self) -> str:
        """Returns what to call it."""
        tries, vain, done = 0, 0, False
        while not done:
            before, tries = self.content.size, tries + 1
            try:
                with self._opened() as answer:
                    self._read(answer)
                done = True
            except PassingError as error:
                why, wanted = error.args
                vain = 0 if self.content.size > before else vain + 1
                pause = self._pause(wanted, vain)
                if not pause:
                    self._give_up(f"{why} (try {tries}, {self._left():.0f} s of the step's time are left)")
                print(_ascii(f"try {tries}: {self.shown}: {why}; again in {pause:.1f} s"), flush=True)
                time.sleep(pause)
        return self.shown

    def _left(self) -> float:
        return max(self.place.until - time.monotonic(), 0)

    def _pause(self, wanted: "float | None", vain: int) -> float:
        """Until the next try, longer each time or as the server wants it; 0 when there is to be none."""
        import random

        left = self._left() - 1
        if wanted is not None:
            return min(max(wanted, FIRST_PAUSE), left / 2) if left > FIRST_PAUSE / 2 else 0
        pause = FIRST_PAUSE * 2 ** max(vain - 1, 0) * random.uniform(1, 1.25)  # noqa: S311 - not all hosts at once
        return pause if vain < MOST_VAIN_TRIES and pause < left else 0

    def _give_up(self, why: str) -> "NoReturn":
        self.place.end(UNAVAILABLE, f"{self.shown}: {why}; check that this host reaches it and that it is there")

    def _opened(self) -> "http.client.HTTPResponse":
        import http.client
        import urllib.request

        limit = max(min(TIMEOUT_SECONDS, self._left()), 1)
        try:
            answer = urllib.request.urlopen(self._request(), timeout=limit)  # noqa: S310 - as in _request
        except urllib.error.HTTPError as error:
            if error.code == NO_SUCH_PART:  # it is another file now
                self.content.clear()
            elif error.code < LEAST_OF_SERVER and error.code not in WORTH_ANOTHER_TRY:
                self._give_up(str(error))
            raise PassingError(str(error), _seconds(error.headers.get("Retry-After"))) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            lasting = isinstance(error, (ValueError, http.client.InvalidURL))
            if lasting or "CERTIFICATE_VERIFY_FAILED" in str(error):
                self._give_up(str(error))
            raise PassingError(str(error) or type(error).__name__, None) from error
        return answer  # type: ignore[no-any-return]

    def _request(self) -> "urllib.request.Request":
        import base64
        import urllib.request

        request = urllib.request.Request(self.shown)  # noqa: S310 - ``fetch_command`` takes http and https only
        if self.login:  # not sent on to wherever a redirect leads
            word = base64.b64encode(urllib.parse.unquote_to_bytes(self.login)).decode("ascii")
            request.add_unredirected_header("Authorization", "Basic " + word)
        if self.content.size and self.validator:
            request.add_header("Range", f"bytes={self.content.size}-")
            request.add_header("If-Range", self.validator)
        return request

    def _read(self, answer: "http.client.HTTPResponse") -> None:
        place, content, headers = self.place, self.content, answer.headers
        begins = f"bytes {content.size}-"
        part = answer.getcode() == PART
        if not part or not headers.get("Content-Range", "").startswith(begins):
            content.clear()
            if part:
                raise PassingError("it sent another part of the file than was asked for", None)
        tag = headers.get("ETag", "")
        self.validator = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
        length = _length(headers.get("Content-Length"))
        if length is not None:
            place.refuse_size(self.shown, content.size + length)
            place.refuse_room(self.shown, length)
        end = None if length is None else content.size + length
        why, piece = "", b"x"
        while piece and content.size != end:
            try:
                piece = answer.read1(PIECE_BYTES)  # what has come: of a larger piece a break would lose all
            except Exception as error:  # noqa: BLE001 - whatever the library raises, this reading is over
                why, piece = f": {error}", b""
            place.refuse_size(self.shown, content.size + len(piece))
            content.add(piece)
        if why or end not in (None, content.size):
            of = "" if end is None else f" of {end}"
            raise PassingError(f"reading broke off after {content.size}{of} bytes{why}", None)


def _ascii(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("ascii", "backslashreplace")


def _seconds(text: "str | None") -> "float | None":
    """Of a Retry-After (RFC 9110, section 10.2.3): seconds, or a date."""
    import email.utils

    if text and text.strip().isdecimal():
        return float(text)
    try:
        date = email.utils.parsedate_tz(text or "")
        return None if date is None else email.utils.mktime_tz(date) - time.time()
    except (OverflowError, TypeError, ValueError):
        return None


def _length(text: "str | None") -> "int | None":
    """What a server says of it, or None: it may be missing, and no number."""
    try:
        return int(text or "") if int(text or "") >= 0 else None
    except ValueError:
        return None


if __name__ == "__main__":
    Placement(os.environ).run()
