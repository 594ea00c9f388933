"""The lab's application: a small web server in one thread on epoll(7), quick to start.

``GET /`` tells application, version and box, ``GET /health`` answers 200, and ``GET /slow?seconds=3`` tells the same as
``/`` after so many seconds. On SIGTERM it stops listening, answers what was asked already, and ends. It reads its
version from the release folder that it lies in, and from the file ``ERRORS`` there, if any, how many of a hundred pages
it answers with 500.
"""

import os
import select
import signal
import socket
import time

_LONGEST_REQUEST = 16 * 1024
_GRACE_SECONDS = 5.0
_SLOWEST_SECONDS = 60.0
_ANSWER = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"


def _json(text: str) -> str:
    """A JSON string; the names here are plain, but a quote must not break the answer."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class BoxConnection:
    """One client: what came and is not yet answered, what is not yet sent, and what is to be sent when it is due."""

    __slots__ = ("closing", "due", "incoming", "late", "outgoing", "socket")

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.incoming = b""
        self.outgoing = b""
        self.late = b""
        self.due = 0.0
        self.closing = False

    @property
    def idle(self) -> bool:
        return not (self.incoming or self.outgoing or self.late)


class Application:
    """Listens, answers, and stops when asked."""

    def __init__(self, address: str, port: int, answer: bytes, errors: int = 0) -> None:
        self.answer = answer
        self.errors = errors
        self.owed = 0
        self.epoll = select.epoll()
        self.connections: dict[int, BoxConnection] = {}
        self.waiting: set[int] = set()
        """Connections with an answer that is to come late."""
        self.stopping = 0.0
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(512)
        self.listener.settimeout(0)
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)

    def stop(self) -> None:
        """Take no more connections; those that are idle are closed, the others after their answer."""
        if not self.stopping:
            self.stopping = time.monotonic() + _GRACE_SECONDS
            self.epoll.unregister(self.listener.fileno())
            self.listener.close()
            for number, connection in list(self.connections.items()):
                if connection.idle:
                    self.close(number, connection)

    def run(self, woken: int) -> None:
        """Serve until stopped; ``woken`` becomes readable when a signal came."""
        self.epoll.register(woken, select.EPOLLIN)
        while not self.stopping or (self.connections and time.monotonic() < self.stopping):
            for number, events in self.epoll.poll(self.patience()):
                if number == woken:
                    os.read(woken, 64)
                    self.stop()
                elif number in self.connections:
                    self.serve(number, self.connections[number], events)
                elif not self.stopping:
                    self.accept()
            self.answer_late()

    def patience(self) -> float:
        """Seconds until something is to be done though nobody asks; -1 for never."""
        dues = [self.connections[number].due - time.monotonic() for number in self.waiting]
        if self.stopping:
            dues.append(0.5)
        return max(0.0, min(dues)) if dues else -1

    def answer_late(self) -> None:
        for number in [each for each in self.waiting if self.connections[each].due <= time.monotonic()]:
            connection = self.connections[number]
            self.waiting.discard(number)
            connection.outgoing, connection.late = connection.late, b""
            self.serve(number, connection, 0)

    def accept(self) -> None:
        try:
            accepted, _ = self.listener.accept()
        except OSError:  # the client went away again
            return
        accepted.settimeout(0)
        self.connections[accepted.fileno()] = BoxConnection(accepted)
        self.epoll.register(accepted.fileno(), select.EPOLLIN)

    def serve(self, number: int, connection: BoxConnection, events: int) -> None:
        try:
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                received = connection.socket.recv(65536)
                connection.incoming += received
                if not received or len(connection.incoming) > _LONGEST_REQUEST:
                    self.close(number, connection)
                    return
            self.reply(number, connection)
            if connection.outgoing:
                sent = connection.socket.send(connection.outgoing)
                connection.outgoing = connection.outgoing[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.close(number, connection)
            return
        if connection.outgoing:
            self.epoll.modify(number, select.EPOLLIN | select.EPOLLOUT)
        elif (connection.closing and not connection.late) or (self.stopping and connection.idle):
            self.close(number, connection)
        else:
            self.epoll.modify(number, select.EPOLLIN)

    def reply(self, number: int, connection: BoxConnection) -> None:
        """Answer every whole request that has come, in their order; requests have no body here."""
        while b"\r\n\r\n" in connection.incoming and not connection.closing and not connection.late:
            head, connection.incoming = connection.incoming.split(b"\r\n\r\n", 1)
            line, _, headers = head.partition(b"\r\n")
            words = line.split(b" ")
            headers = b"\n" + headers.replace(b"\r\n", b"\n").lower() + b"\n"
            kept = b"\nconnection: keep-alive\n" in headers if words[-1] == b"HTTP/1.0" else True
            connection.closing = not kept or b"\nconnection: close\n" in headers or bool(self.stopping)
            status, body = self.page(words)
            shown = b"" if words[0] == b"HEAD" else body
            lasting = b"Connection: close\r\n" if connection.closing else b"Connection: keep-alive\r\n"
            answer = _ANSWER % (status, len(body), lasting, shown)
            delay = _delay(words)
            if delay > 0:
                connection.late, connection.due = answer, time.monotonic() + delay
                self.waiting.add(number)
            else:
                connection.outgoing += answer

    def page(self, words: list[bytes]) -> tuple[bytes, bytes]:
        """Status line and body for a request line. Doubled slashes at the start count as one."""
        if len(words) != 3 or words[0] not in (b"GET", b"HEAD"):  # noqa: PLR2004 -- method, path, version
            return b"405 Method Not Allowed", b'{"error": "only GET"}\n'
        path = b"/" + words[1].split(b"?", 1)[0].lstrip(b"/")
        if path in (b"/", b"/slow"):
            self.owed += self.errors
            if self.owed >= 100:  # noqa: PLR2004 -- per cent
                self.owed -= 100
                return b"500 Internal Server Error", self.answer
            return b"200 OK", self.answer
        if path == b"/health":
            return b"200 OK", b'{"healthy": true}\n'
        return b"404 Not Found", b'{"error": "no such page"}\n'

    def close(self, number: int, connection: BoxConnection) -> None:
        del self.connections[number]
        self.waiting.discard(number)
        self.epoll.unregister(number)
        connection.socket.close()


def _delay(words: list[bytes]) -> float:
    """Seconds that ``/slow?seconds=3`` asks for; 0 for every other page, and for what is no number."""
    path, _, query = words[1].partition(b"?") if len(words) > 1 else (b"", b"", b"")
    asked = query.removeprefix(b"seconds=").decode("latin-1")
    if path.strip(b"/") != b"slow" or not asked.replace(".", "", 1).isdigit():
        return 0.0
    return min(float(asked), _SLOWEST_SECONDS)


def main() -> None:
    # os.path, since pathlib would cost a third of the start-up, and hundreds of boxes start at once.
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    with open(os.path.join(here, "VERSION")) as file:  # noqa: PTH118, PTH123
        version = file.read().strip()
    errors = os.path.join(here, "ERRORS")  # noqa: PTH118
    percent = 0
    if os.path.exists(errors):  # noqa: PTH110
        with open(errors) as file:  # noqa: PTH123
            percent = int(file.read())
    names = (("application", os.environ["APPLICATION"]), ("version", version), ("box", os.environ["BOX_NAME"]))
    answer = "{" + ", ".join(f"{_json(key)}: {_json(value)}" for key, value in names) + "}\n"
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    application = Application(os.environ["ADDRESS"], int(os.environ["PORT"]), answer.encode(), percent)
    print(f"{version} listens on {os.environ['ADDRESS']}:{os.environ['PORT']}", flush=True)
    application.run(woken)


if __name__ == "__main__":
    main()
