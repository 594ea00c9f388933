"""What a lying supervisor answers: by attack, the bytes for HELLO, RUN and TRACE. No I/O here."""

from collections.abc import Mapping

from vesemir.adapters.ssh.onhost.wire import ANSWER, ENDED, HELD, OUTPUT, PIECE, REFUSED, WELCOME, frame, pack

GOOD = {"status": b"succeeded", "exit_status": b"0", "printed": b"5", "seconds": b"0.1", "left": b"0", "ended": b"1"}
ESCAPES = b'\x1b[2J\x1b]0;title\x07\r\n{"event":"x"}\n\xe2\x80\xaetext\xc2\x9b31m\x00\xff\xfe\x7f'


def ended(reason: bytes = b"", **changes: bytes) -> bytes:
    return frame(ENDED, pack([*{**GOOD, **changes}.values(), reason]))


def welcome(folder: bytes = b"/home/x/.vesemir") -> bytes:
    return frame(WELCOME, pack([folder]))


STEPS: Mapping[str, bytes] = {
    "output past what comes unasked": frame(OUTPUT, b"x" * 8000) * 2 + ended(),
    "empty output": frame(OUTPUT) * 10 + ended(),
    "a piece that is too long": frame(OUTPUT, b"x" * (PIECE + 1)),
    "many announcements": frame(HELD, pack([b"9" * 5])) * 2000 + ended(),
    "an announcement of terabytes": frame(HELD, pack([b"9" * 15])),
    "an announcement of 30 digits": frame(HELD, pack([b"9" * 30])),
    "an announcement of little": frame(HELD, pack([b"1"])),
    "output before it is asked for": frame(HELD, pack([b"20000"])) + frame(OUTPUT, b"x"),
    "30 digits": ended(printed=b"9" * 30),
    "5,000 digits": ended(printed=b"9" * 5000),
    "nan": ended(seconds=b"nan"),
    "infinity": ended(seconds=b"inf"),
    "an exponent": ended(seconds=b"1e9"),
    "a negative duration": ended(seconds=b"-1"),
    "negative numbers": ended(left=b"-5", printed=b"-7"),
    "no number": ended(left=b"many"),
    "digits of another script": ended(printed="٣".encode()),
    "an exit status of 999": ended(exit_status=b"999"),
    "a status of its own": ended(status=b"excellent"),
    "a mark of its own": ended(ended=b"2"),
    "a reason without end": ended(b"because " * 4000),
    "too few fields": frame(ENDED, pack([b"succeeded"])),
    "too many fields": frame(ENDED, pack([*GOOD.values(), b"", b""])),
    "no fields": frame(ENDED),
    "lengths that lie": frame(ENDED, b"\xff\xff\xff\xff" + b"x" * 50),
    "a frame of 4 GB": ENDED + b"\xff" * 4,
    "a kind that is none": frame(b"?", b"x"),
    "an answer to another question": frame(ANSWER, pack([b"never"])),
    "a second welcome": welcome(),
    "two ends": ended() * 2,
    "a refusal of its own": frame(REFUSED, pack([b"whatever", b"text"])),
    "a refusal without end": frame(REFUSED, pack([b"busy", b"x" * 100_000])),
    "a refusal without text": frame(REFUSED, pack([b"busy"])),
}
"""What comes when a step was asked for. All of it ends the session with ``ssh.protocol_violated``."""

WELCOMES: Mapping[str, bytes] = {
    "no folder": frame(WELCOME),
    "a folder that is relative": welcome(b"here"),
    "a folder with a line feed": welcome(b"/tmp\n/x"),
    "a folder of 100,000 bytes": welcome(b"/" * 100_000),
    "an end before any step": ended(),
    "output before any step": frame(OUTPUT, b"x"),
    "a welcome and an end": welcome() + ended(),
}
"""The same, when the lane was asked for."""

TRACES: Mapping[str, bytes] = {
    "running": frame(ANSWER, pack([b"running"])),
    "finished without a result": frame(ANSWER, pack([b"finished"])),
    "finished with numbers that cannot be": frame(ANSWER, pack([b"finished", *GOOD.values(), b""])).replace(
        b"0.1", b"nan"
    ),
    "never, with a result": frame(ANSWER, pack([b"never", *GOOD.values(), b""])),
    "nothing": frame(ANSWER),
    "the end of a step": ended(),
}
"""The same, when it was asked what is known of a step."""
