"""Stands in for systemctl(1) on a box: asks the box's service manager and exits as systemctl would.

Called as ``systemctl.py SOCKET BOX [options] VERB [SERVICE…]``.
"""

import socket
import sys

_QUIET = ("-q", "--quiet")


def main(words: list[str]) -> int:
    """Returns the exit status of systemctl(1): 0, 1, 3 (not active), 4 or 5 (no such unit)."""
    path, box, *rest = words
    quiet = any(word in _QUIET for word in rest)
    given = [word for word in rest if not word.startswith("-")]
    if given[:1] == ["daemon-reload"]:
        return 0
    if len(given) < 2:  # noqa: PLR2004 -- a verb and a service
        print("Usage: systemctl restart|start|stop|status|is-active|cat SERVICE", file=sys.stderr)
        return 1
    status = 0
    for service in given[1:]:
        try:
            code, text = ask(path, " ".join((box, given[0], service.removesuffix(".service"))))
        except OSError as error:
            print(f"Failed to connect to the service manager of {box}: {error}", file=sys.stderr)
            return 1
        status = status or code
        if text and not (quiet and given[0] == "is-active"):
            print(
                text,
                file=sys.stdout
                if given[0] in {"is-active", "status"} or (given[0] == "cat" and not code)
                else sys.stderr,
            )
    return status


def ask(path: str, line: str) -> tuple[int, str]:
    """One question, one answer: the exit status, then the text."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        connection.sendall(line.encode() + b"\n")
        answer = b""
        while received := connection.recv(65536):
            answer += received
    code, _, text = answer.decode().partition("\n")
    if not code:
        raise ConnectionError("no answer")
    return int(code), text.rstrip("\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
