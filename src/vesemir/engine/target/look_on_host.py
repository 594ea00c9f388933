"""Runs on a host, in a dry run: looks whether an artifact is there, or whether a file can be put into its place.

Everything is told by the environment (``look.py``), and nothing is changed. What stands in the way is one line of
standard error, with the exit statuses of ``place_on_host.py``; 75 says that it could not be looked at.

Standard library only, on Python 3.6 and later: the whole text is the argument of ``python3 -c``.
"""

import grp
import os
import pwd
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPResponse
    from typing import NoReturn

UNAVAILABLE, FAILED, UNKNOWN = 3, 1, 75
TIMEOUT_SECONDS = 10
BUSY = (429, 503)
"""A download is tried again after these."""
REFUSES_HEAD = (400, 401, 403, 405, 501)
"""A server may know GET only, and an address may be signed for GET alone."""


def look(given: "Mapping[str, str]") -> None:
    """Ends the program with a status of its own if something stands in the way."""
    if "VESEMIR_LOOK_URL" in given:
        size = size_of(given["VESEMIR_LOOK_URL"], int(given["VESEMIR_LOOK_MAX_BYTES"]))
        print("" if size is None else size)
        return
    look_at_names(given.get("VESEMIR_LOOK_OWNER", ""), given.get("VESEMIR_LOOK_GROUP", ""))
    path = given["VESEMIR_LOOK_DESTINATION"]
    folder = existing_parent(path)
    need, unpacked = int(given["VESEMIR_LOOK_BYTES"]), int(given["VESEMIR_LOOK_UNPACKED_BYTES"])
    if not os.path.lexists(path):  # else it may be the very file, which is kept
        look_at_room(folder, need, unpacked)


def existing_parent(path: str) -> str:
    """The folder in which something will be made: the nearest that is there, and that this user may write to."""
    if os.path.isdir(path) and not os.path.islink(path):
        end(FAILED, f"{path} is a folder; the destination must name a file")
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        end(FAILED, f"{folder} is not a folder, or leads to none")
    effective = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        room = os.statvfs(folder)
        read_only = "its file system is mounted read-only"
        why = read_only if room.f_flag & os.ST_RDONLY else f"user {user()} may not; check its owner and mode"
        missing = "" if folder == os.path.dirname(path) else f" (to make {os.path.dirname(path)} there)"
        end(FAILED, f"nothing can be written to {folder}{missing}: {why}")
    return folder


def user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def look_at_names(owner: str, group: str) -> None:
    for name, known, what in ((owner, pwd.getpwnam, "user"), (group, grp.getgrnam, "group")):
        try:
            if name and not name.isdigit():
                known(name)
        except KeyError:
            end(FAILED, f"no such {what} on this host: {name}")


def look_at_room(folder: str, need: int, unpacked: int) -> None:
    room = os.statvfs(folder)
    free = (room.f_bavail if os.geteuid() else room.f_bfree) * room.f_frsize
    if need + unpacked > free:
        more = f", and about {unpacked} more unpacked" if unpacked else ""
        end(FAILED, f"the file has {need} bytes{more}, and {free} are free in {folder}; make room there")


def size_of(url: str, most: int) -> "int | None":
    """Bytes, as far as the server says. Raises ``SystemExit`` when it is not there, or is too large."""
    import http.client
    import urllib.error

    shown = without_login(url)[0]
    try:
        try:
            size = head_size(opened(url, "HEAD"))
        except urllib.error.HTTPError as error:
            if error.code not in REFUSES_HEAD:
                raise
            size = range_size(opened(url, "GET"))
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code in BUSY:
            end(UNKNOWN, f"{shown}: {error}; a download would be tried again")
        end(UNAVAILABLE, f"{shown}: {error}; check that this host reaches it and that it is there")
    if size is not None and 0 < most < size:
        end(UNAVAILABLE, f"{shown}: has {size} bytes, more than artifacts.max_bytes of the settings ({most}) allows")
    return size


def without_login(url: str) -> "tuple[str, str]":
    """The address as it may be shown, and ``user:password`` if it has them."""
    import urllib.parse

    parts = urllib.parse.urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    return urllib.parse.urlunsplit(parts._replace(netloc=place)), login


def opened(url: str, method: str) -> "HTTPResponse":
    """Redirects are followed as the download follows them. The body is not read."""
    import base64
    import urllib.parse
    import urllib.request

    shown, login = without_login(url)
    request = urllib.request.Request(shown, method=method)  # noqa: S310 - ``look.py`` takes http and https only
    if method == "GET":
        request.add_header("Range", "bytes=0-0")
    if login:  # not sent on to wherever a redirect leads
        word = base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode("ascii")
        request.add_unredirected_header("Authorization", "Basic " + word)
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310
    answer.close()
    return answer


def head_size(answer: "HTTPResponse") -> "int | None":
    return number(answer.headers.get("Content-Length"))


def range_size(answer: "HTTPResponse") -> "int | None":
    """``bytes 0-0/SIZE``, or the whole length where the server knows no ranges."""
    whole = answer.headers.get("Content-Range")
    return number(whole.rpartition("/")[2]) if whole else number(answer.headers.get("Content-Length"))


def number(text: "str | None") -> "int | None":
    return int(text) if text and text.isdigit() else None


def end(status: int, text: str) -> "NoReturn":
    sys.stderr.write(text.encode("utf-8", "backslashreplace").decode("ascii", "backslashreplace") + "\n")
    sys.exit(status)


if __name__ == "__main__":
    try:
        look(os.environ)
    except OSError as trouble:
        end(FAILED, f"{trouble.filename}: {trouble.strerror}")
