"""What is kept on the host: a lane's lock, its highest epoch, and a marker before and after every step.

STATE/lanes/LANE.guard    locked for the moment in which the epoch is compared and raised
STATE/lanes/LANE.epoch    the highest epoch seen
STATE/lanes/LANE.lock     locked while a supervisor works; says which one (empty after an orderly end)
STATE/steps/DEPLOYMENT/DIRECTION.STEP.ATTEMPT.started, .result
STATE/incoming/           uploads
"""
# pathlib is slow to import on a target
# ruff: noqa: PTH103, PTH104, PTH106, PTH108, PTH110, PTH111, PTH112, PTH116, PTH118, PTH120, PTH208

import fcntl
import os
import time

from vesemir.adapters.ssh.onhost.kernel import boot_id, read_file, start_time
from vesemir.adapters.ssh.onhost.tree import end_supervisor, end_tagged

KEPT_SECONDS = 14 * 24 * 3600
INCOMING_KEPT_SECONDS = 2 * 24 * 3600
"""Uploads are large, and a deployment lasts hours."""
PRUNE_PAUSE_SECONDS = 24 * 3600
LONGEST_NAME = 220
HOLDER_WORDS = 5
PRUNED_AT_ONCE = 500
"""Folders removed in one session, so that a step never waits long for it."""


IDENTITY: list[bytes] = []


def identity() -> bytes:
    """This supervisor as its marker and lock file name it: pid, start time, boot; read once."""
    if not IDENTITY:
        pid = os.getpid()
        IDENTITY.extend([b"%d" % pid, b"%d" % start_time(pid), boot_id()])
    return b" ".join(IDENTITY)


class EpochError(Exception):
    """The lane has seen a higher epoch."""


class BusyError(Exception):
    """Another session holds the lane's lock."""


def write_file(path: str, content: bytes, *, sync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, content)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: str, content: bytes, *, sync: bool) -> None:
    """Whole or not at all, also for one who reads at the same time; with ``sync`` it survives a power cut."""
    new = f"{path}.{os.getpid()}.new"
    write_file(new, content, sync=sync)
    os.rename(new, path)
    if sync:
        sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """So that the names in it survive a power cut."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def checked_name(name: bytes) -> str:
    """A file's name that the client made: it must be one. Raises ``ValueError``."""
    text = name.decode("ascii")
    if not text or "/" in text or "\0" in text or text.startswith(".") or len(text) > LONGEST_NAME:
        raise ValueError(f"not a file's name: {text!r}")
    return text


class State:
    """The state folder."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.join(os.path.expanduser("~"), folder)

    def prepare(self) -> None:
        os.makedirs(self.folder, 0o700, exist_ok=True)
        for name in ("lanes", "steps", "incoming"):
            os.makedirs(os.path.join(self.folder, name), 0o700, exist_ok=True)

    def marker(self, folder: bytes, name: bytes) -> str:
        return os.path.join(self.folder, "steps", checked_name(folder), checked_name(name))

    def prune(self) -> None:
        """At most once a day. What cannot be removed stays: it is no reason to stop a deployment."""
        now = time.time()
        stamp = os.path.join(self.folder, "pruned")
        try:
            if abs(now - os.stat(stamp).st_mtime) < PRUNE_PAUSE_SECONDS:
                return
        except OSError:
            pass
        write_whole(stamp, b"", sync=False)
        removed = 0
        for name in os.listdir(os.path.join(self.folder, "steps")):
            path = os.path.join(self.folder, "steps", name)
            if removed < PRUNED_AT_ONCE and older(path, now - KEPT_SECONDS):
                for marker in os.listdir(path):
                    os.unlink(os.path.join(path, marker))
                os.rmdir(path)
                removed += 1
        for name in os.listdir(os.path.join(self.folder, "incoming")):
            path = os.path.join(self.folder, "incoming", name)
            if older(path, now - INCOMING_KEPT_SECONDS):
                os.unlink(path)


def older(path: str, moment: float) -> bool:
    try:
        return os.stat(path).st_mtime < moment
    except OSError:
        return False


class Lane:
    """A lane's epoch and lock on this host."""

    def __init__(self, state: State, name: bytes, epoch: int) -> None:
        self._path = os.path.join(state.folder, "lanes", checked_name(name))
        self.epoch = epoch
        self._lock = -1
        self._seen: tuple[int, int] = (0, 0)

    def raise_epoch(self) -> None:
        """Raises ``EpochError``."""
        guard = os.open(self._path + ".guard", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)  # held for one comparison and one write only
            highest = int(read_file(self._path + ".epoch") or b"0")
            if self.epoch < highest:
                raise EpochError(f"the host has seen epoch {highest} of this lane, this session has {self.epoch}")
            if self.epoch > highest:
                write_whole(self._path + ".epoch", b"%d\n" % self.epoch, sync=True)
            self._seen = self._mark()
        finally:
            os.close(guard)

    def _mark(self) -> tuple[int, int]:
        seen = os.stat(self._path + ".epoch")
        return seen.st_ino, seen.st_mtime_ns

    def superseded(self) -> bool:
        """Whether a later claim has shown itself here; one stat unless something changed."""
        try:
            if self._mark() == self._seen:
                return False
            self._seen = self._mark()
        except OSError:
            return True  # somebody removed the state folder: nothing can be proven any more
        return int(read_file(self._path + ".epoch") or b"0") > self.epoch

    def try_lock(self) -> bool:
        if self._lock < 0:
            self._lock = os.open(self._path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def holder(self) -> tuple[int, int, int, int]:
        """Epoch, pid, start time and tag of the supervisor that has or had the lock; zeros after an orderly end."""
        words = read_file(self._path + ".lock").split()
        if len(words) != HOLDER_WORDS or words[4] != boot_id():
            return 0, 0, 0, 0
        return int(words[0]), int(words[2]), int(words[3]), int(words[1])

    def oust(self) -> None:
        """End a holder of an older epoch that did not give way in time."""
        epoch, pid, started, _ = self.holder()
        if 0 < epoch < self.epoch:
            end_supervisor(pid, started)

    def end_orphans(self) -> bool:
        """With the lock in hand: what a supervisor left that was itself killed. True when nothing of it is left."""
        tag = self.holder()[3]
        return end_tagged(tag) if tag else True

    def sign(self, tag: int) -> None:
        """Say in the lock file who has it."""
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d %d " % (self.epoch, tag) + identity() + b"\n", 0)

    def leave(self) -> None:
        """An orderly end: nothing is left that a successor would have to look for."""
        if self._lock >= 0:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1


def mark_started(marker: str, epoch: int, tag: int) -> None:
    """Before the step: from now on a missing result means that it broke off. After this it survives a power cut.

    That it is there is all that it tells; what it holds is for people who look.
    """
    folder = os.path.dirname(marker)
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o700, exist_ok=True)
        sync_folder(os.path.dirname(folder))
    elif os.path.exists(marker + ".result"):
        os.unlink(marker + ".result")
    content = b"epoch %d\ntag %d\n" % (epoch, tag) + b"supervisor " + identity() + b"\n"
    write_file(marker + ".started", content, sync=True)
    sync_folder(folder)


def mark_result(marker: str, fields: list[bytes]) -> None:
    """The fields of an ENDED frame, one per line; whole or not at all.

    Not synced, which would cost each step two waits for the disk: should the host lose power before it is written, the
    step counts as broken off, and who asks finds out or says that it is not known. Nobody asks unless the instance
    died in that moment too.
    """
    content = b"\n".join([field.replace(b"\n", b" ") for field in fields]) + b"\n"
    write_whole(marker + ".result", content, sync=False)


def read_trace(marker: str) -> list[bytes]:
    """The fields of an ANSWER frame."""
    result = read_file(marker + ".result")
    if result:
        return [b"finished", *result.split(b"\n")[:7]]
    return [b"broken_off" if os.path.exists(marker + ".started") else b"never"]
