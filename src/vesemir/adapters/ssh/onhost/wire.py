"""Frames between client and supervisor: a kind of one byte, the payload's length in four (big-endian), the payload.

Structured payloads are lists of byte strings, each behind its own length, so every word of a command arrives as the
same bytes whatever is in it. The client uses this module too.
"""

from collections.abc import Sequence

# From the client
HELLO = (
    b"H"  # lane, epoch, lock seconds, silence seconds, grace seconds, state folder, tag (the nested supervisor's only)
)
TRACE = b"T"  # folder, marker
RUN = b"R"  # folder, marker, timeout, sudo, working directory, output limit, number of words, words, NAME=VALUE …
KILL = b"K"  # end the step that runs
SEND = b"S"  # the output that is held
BEAT = b"B"  # the client lives and its lease is valid

# From the supervisor
WELCOME = b"W"  # state folder
REFUSED = b"N"  # code (epoch, busy, state, lost, protocol), text
ANSWER = b"A"  # to TRACE: never, finished or broken_off; for finished then the fields of ENDED
HELD = b"L"  # a step ended whose output is large; its size. It and ENDED come when SEND asks for them, or after KILL
OUTPUT = b"O"  # a piece of the end of a step's output
ENDED = b"E"  # status, exit status or empty, bytes of output, seconds, leftovers, ended (1, 0), reason

PROTOCOL = "1"
"""Raised when a frame changes its meaning: a supervisor that is installed on a host may be of another release."""
WRONG_PROTOCOL_STATUS = 65
"""Exit status of an installed supervisor that speaks another one (sysexits.h: EX_DATAERR)."""
GREETING = b"\x00vesemir-supervisor "  # then the nonce backwards: a shell that echoes the command cannot imitate it

PIECE = 32768
"""Bytes in a frame of OUTPUT; the last one of a step may have less."""
UNASKED = 8192
"""So much output comes at once with a step's end."""
LONGEST_FRAME = 16 * 1024 * 1024
HEADER = 5


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


def pack(fields: Sequence[bytes]) -> bytes:
    return b"".join([len(field).to_bytes(4, "big") + field for field in fields])


def unpack(payload: bytes) -> list[bytes]:
    """Raises ``ValueError`` when the lengths do not fit."""
    fields = []
    place = 0
    while place < len(payload):
        size = int.from_bytes(payload[place : place + 4], "big")
        place += 4
        if place + size > len(payload):
            raise ValueError("a field is longer than its frame")
        fields.append(payload[place : place + size])
        place += size
    return fields


class Unframer:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, received: bytes) -> list[tuple[bytes, bytes]]:
        """The frames that are complete now. Raises ``ValueError`` for one that is longer than any real one."""
        self._received += received
        frames = []
        while len(self._received) >= HEADER:
            size = int.from_bytes(self._received[1:5], "big")
            if size > LONGEST_FRAME:
                raise ValueError(f"a frame of {size} bytes is longer than any")
            if len(self._received) < HEADER + size:
                break
            frames.append((bytes(self._received[:1]), bytes(self._received[HEADER : HEADER + size])))
            del self._received[: HEADER + size]
        return frames
