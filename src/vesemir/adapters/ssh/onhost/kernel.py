"""What the kernel is asked for: parent-death signals, orphans as children, the process table, a tag on descendants."""
# pathlib is slow to import on a target
# ruff: noqa: PTH208

import _ctypes
import os
import resource
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
RLIMIT_LOCKS = 10
"""A limit that Linux has ignored since 2.4.25 (getrlimit(2)) and that every descendant inherits, whatever it does to
its session, environment and descriptors. Its soft value therefore tags all that a supervisor started."""
STAT_WORDS = 20
"""Behind the name in /proc/PID/stat: the start time is the last that is looked at."""


# dlopen(3): NULL is the program itself; 2 is RTLD_NOW
PRCTL = _ctypes.dlsym(_ctypes.dlopen(None, 2), "prctl")  # type: ignore[arg-type]


def control_process(option: int, value: int) -> None:
    """prctl(2), by the C part of ctypes alone. Raises ``OSError``."""
    if _ctypes.call_function(PRCTL, (option, value, 0, 0, 0)) != 0:
        raise OSError(f"prctl({option}, {value}) failed")


def read_file(path: str) -> bytes:
    """All of a small file; empty when it is gone or may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        content = b""
        while True:
            piece = os.read(descriptor, 65536)
            if not piece:
                return content
            content += piece
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def boot_id() -> bytes:
    return read_file("/proc/sys/kernel/random/boot_id").strip()


def look_at(pid: int) -> tuple[bytes, int, int] | None:
    """State (``b"Z"``), parent and start time (clock ticks since boot) of a process; proc(5), ``stat``."""
    words = read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(words) < STAT_WORDS:
        return None
    return words[0], int(words[1]), int(words[19])


def start_time(pid: int) -> int:
    """0 for a process that is gone or a zombie."""
    seen = look_at(pid)
    return 0 if seen is None or seen[0] == b"Z" else seen[2]


def every_pid() -> list[int]:
    """Ascending, so that parents mostly come before their children."""
    return sorted([int(name) for name in os.listdir("/proc") if name.isdigit()])


def tag_descendants(tag: int) -> int:
    """Put a tag on this process and all that it starts from now on; 0 when the limit cannot carry one."""
    hard = resource.getrlimit(RLIMIT_LOCKS)[1]
    if hard != resource.RLIM_INFINITY and tag > hard:
        return 0
    resource.setrlimit(RLIMIT_LOCKS, (tag, hard))
    return tag


def new_tag() -> int:
    """62 random bits that no limit set by hand is likely to have."""
    return int.from_bytes(os.urandom(8), "big") >> 2 | 1 << 61


def tagged(tag: int) -> list[int]:
    """Every living process but this one that carries the tag."""
    found = []
    for pid in every_pid():
        for line in read_file(f"/proc/{pid}/limits").splitlines():
            if line.startswith(b"Max file locks") and line.split()[3] == b"%d" % tag and pid != os.getpid():
                if start_time(pid):
                    found.append(pid)
                break
    return found


def complain(text: str) -> None:
    """To the session's standard error, which the client keeps the end of; nothing depends on it."""
    try:
        os.write(2, ("vesemir supervisor: " + text + "\n").encode("utf-8", "replace"))
    except OSError:
        sys.stderr = None
