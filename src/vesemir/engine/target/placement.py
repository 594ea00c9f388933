"""Placing a file on a host: one fixed program, told everything by its environment, run like any other step.

It checks what it writes, and only a complete, checked file with its final owner and mode appears at the destination,
by rename. Exit status 3: the source is not to be had; 4: it is not the file that was meant; 1: anything else.
"""

from vesemir.domain.action import FetchAction, PutAction
from vesemir.domain.step import Command

# Python, because the supervisor needs it on the host anyway; standard library and 3.6 syntax only.
PROGRAM = '''\
import grp, hashlib, os, pwd, stat, sys

E = os.environ
SOURCE, URL = E.get("VESEMIR_PLACE_SOURCE", ""), E.get("VESEMIR_PLACE_URL", "")
PATH, WANTED = E["VESEMIR_PLACE_DESTINATION"], E.get("VESEMIR_PLACE_SHA256", "")
MODE, OWNER, GROUP = int(E["VESEMIR_PLACE_MODE"], 8), E.get("VESEMIR_PLACE_OWNER", ""), E.get("VESEMIR_PLACE_GROUP", "")
FOLDER, NAME = os.path.split(PATH)
PREFIX = "." + NAME + ".vesemir-"
PART = os.path.join(FOLDER, PREFIX + str(os.getpid()))


def end(status, text):
    for path in (PART, SOURCE):  # what was uploaded may hold secrets; another try uploads it again
        if path and os.path.lexists(path):
            os.unlink(path)
    sys.stderr.write(text.encode("utf-8", "backslashreplace").decode("ascii", "backslashreplace") + "\\n")
    sys.exit(status)


def pieces(stream, origin, length=None):
    got = 0
    while True:
        try:
            piece = stream.read(1 << 20)
        except Exception as error:
            end(3, "%s: reading broke off after %d bytes: %s" % (origin, got, error))
        if not piece:
            break
        got += len(piece)
        yield piece
    if length is not None and got < int(length):
        end(3, "%s: reading broke off after %d of %s bytes" % (origin, got, length))


def opened():
    if not URL:
        try:
            return open(SOURCE, "rb"), SOURCE, None
        except OSError as error:
            end(3, "%s: %s" % (SOURCE, error.strerror))
    import base64
    import http.client
    import urllib.parse
    import urllib.request
    parts = urllib.parse.urlsplit(URL)
    login, at, place = parts.netloc.rpartition("@")
    shown = urllib.parse.urlunsplit(parts._replace(netloc=place))
    try:
        request = urllib.request.Request(shown)
        if at:  # not sent on to wherever a redirect leads
            word = base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode("ascii")
            request.add_unredirected_header("Authorization", "Basic " + word)
        answer = urllib.request.urlopen(request, timeout=30)
    except (OSError, ValueError, http.client.HTTPException) as error:
        end(3, "%s: %s; check that this host reaches it and that it is there" % (shown, error))
    return answer, shown, answer.headers.get("Content-Length")


def there():
    """The digest of a regular file that is there already."""
    try:
        if not stat.S_ISREG(os.lstat(PATH).st_mode):
            return ""
        with open(PATH, "rb") as stream:
            seen = hashlib.sha256()
            for piece in iter(lambda: stream.read(1 << 20), b""):
                seen.update(piece)
            return seen.hexdigest()
    except OSError:
        return ""


def number(name, look, what):
    if not name:
        return -1
    try:
        return int(name) if name.isdigit() else look(name)
    except KeyError:
        end(1, "no such %s on this host: %s" % (what, name))


def main():
    if os.path.isdir(PATH) and not os.path.islink(PATH):
        end(1, "%s is a folder; the destination must name a file" % PATH)
    os.makedirs(FOLDER, exist_ok=True)
    for name in os.listdir(FOLDER):
        if name.startswith(PREFIX):
            os.unlink(os.path.join(FOLDER, name))
    uid = number(OWNER, lambda name: pwd.getpwnam(name).pw_uid, "user")
    gid = number(GROUP, lambda name: grp.getgrnam(name).gr_gid, "group")
    kept = bool(WANTED) and there() == WANTED
    if kept:
        file = os.open(PATH, os.O_RDONLY)
    else:
        stream, origin, length = opened()
        file = os.open(PART, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        seen = hashlib.sha256()
        with stream, os.fdopen(os.dup(file), "wb") as out:
            for piece in pieces(stream, origin, length):
                seen.update(piece)
                out.write(piece)
        if WANTED and seen.hexdigest() != WANTED:
            end(4, "%s: sha256 is %s, expected %s" % (origin, seen.hexdigest(), WANTED))
    if uid != -1 or gid != -1:
        os.fchown(file, uid, gid)
    os.fchmod(file, MODE)
    os.fsync(file)
    if not kept:
        os.rename(PART, PATH)
        folder = os.open(FOLDER, os.O_RDONLY)
        os.fsync(folder)
    if SOURCE and os.path.lexists(SOURCE):
        os.unlink(SOURCE)
    print("kept: it is there already" if kept else "placed")


try:
    main()
except OSError as error:
    end(1, "%s: %s" % (error.filename or PATH, error.strerror))
'''


def place_command(action: PutAction | FetchAction, uploaded_path: str, *, python: str = "python3") -> Command:
    """Put a file that was uploaded to the host in its place; the uploaded one is gone afterwards."""
    return _command(action, {"VESEMIR_PLACE_SOURCE": uploaded_path}, python)


def fetch_command(action: FetchAction, *, python: str = "python3") -> Command:
    """Download on the host (proxies come from the step's ``environment``), unless the very file is there already.

    Raises ``ValueError`` for a ``file://`` artifact, which the instance reads and uploads.
    """
    if not action.url.startswith(("http://", "https://")):
        raise ValueError(f"{action.url} is not fetched on the target but uploaded to it")
    return _command(action, {"VESEMIR_PLACE_URL": action.url}, python)


def _command(action: PutAction | FetchAction, origin: dict[str, str], python: str) -> Command:
    return Command(
        argv=(python, "-I", "-S", "-c", PROGRAM),
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
