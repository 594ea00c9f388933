"""The lab's jump host, and the network of its own that the boxes behind it live in.

It binds its address in the machine's network, and then leaves that for a new, empty one (network_namespaces(7)), with
nothing in it but a loopback interface. What it starts is in there: the boxes' sshds and service manager, and an
``sshd -i`` for each connection that is accepted. So what is forwarded through the jump host reaches the boxes, and
nothing else does. It answers when they do.

Root may make such a network; other users make a user namespace for it, in which they are who they were.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
SET_FLAGS, UP_AND_RUNNING = 0x8914, 0x1 | 0x40
"""``SIOCSIFFLAGS`` and ``IFF_UP | IFF_RUNNING`` of netdevice(7)."""
WAIT_SECONDS = 60.0


def leave_network() -> None:
    """Raises ``OSError`` where that is not allowed."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK if user == 0 else NEW_USER | NEW_NETWORK) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"a network of its own: {os.strerror(number)}")
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        fcntl.ioctl(plug, SET_FLAGS, struct.pack("16sh", b"lo", UP_AND_RUNNING))


def start(words: list[str], log: str) -> "subprocess.Popen[bytes]":
    with Path(log).open("ab") as out:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def wait_for(address: str, port: int) -> None:
    """Raises ``OSError`` when nothing listens there in time."""
    limit = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)
        else:
            return


def serve(listener: socket.socket, words: list[str], children: "list[subprocess.Popen[bytes]]") -> NoReturn:
    """A program of its own for each connection, as inetd does it."""
    listener.listen(128)
    while True:
        plug, _ = listener.accept()
        with plug:
            children.append(
                subprocess.Popen(words, stdin=plug.fileno(), stdout=plug.fileno(), stderr=subprocess.DEVNULL)
            )
        children[:] = [child for child in children if child.poll() is None]


def stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    wanted = json.loads(Path(sys.argv[1]).read_text())
    signal.signal(signal.SIGTERM, stop)
    children: list[subprocess.Popen[bytes]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(tuple(wanted["listen"]))
        leave_network()
        try:
            children += [start(each["words"], each["log"]) for each in wanted["inside"]]
            for address, port in wanted["answers"]:
                wait_for(address, port)
            serve(listener, wanted["sshd"], children)
        finally:
            for child in children:
                child.terminate()


if __name__ == "__main__":
    main()
