"""Texts that are expected word for word, kept in files beside the tests; what differs from run to run is replaced.

``VESEMIR_WRITE_EXPECTED=1`` writes them anew: read the diff before it is committed.
"""

import os
import re
from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path

from typer.testing import CliRunner

from vesemir.cli.program import app

FOLDER = Path(__file__).with_name("provoked")
WRITE = "VESEMIR_WRITE_EXPECTED"
EXPLAIN = "$ vesemir explain "

_TOOK = r"(?:\d+ h \d\d min|\d+ min \d\d s|[\d.]+ m?s)"
"""As ``vesemir.cli.output.seconds_text`` writes it."""
_CHANGING = [
    (re.compile(r"[ \t]{3,}"), "  "),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "<time>"),
    # What was measured, in a column or after these words. A limit that was asked for stays.
    (re.compile(rf"(?<=  ){_TOOK}(?=  |$)|(?<=waited ){_TOOK}|(?<=ran for  ){_TOOK}", re.MULTILINE), "<duration>"),
    (re.compile(r"(?<=<duration>, )\d+ steps?"), "<steps>"),
    (re.compile(rf"left so {_TOOK} ago|still drained {_TOOK} ago \([^)]*\)"), "<looked at>"),
    (re.compile(r"\b127(\.\d+){3}\b"), "<address>"),
    (re.compile(r"(?<=<address>):\d{2,5}\b|(?<=\]):\d{2,5}\b"), ":<port>"),
    (re.compile(r"\b(one|two)/[0-9a-f-]+"), r"\1/<start>"),
    (re.compile(r"\bepoch \d+"), "epoch <epoch>"),
    (re.compile(r"(?<=: has )\d+(?= bytes, and \d+ are free)"), "<size>"),
]


def settled(text: str, replaced: Mapping[str, str]) -> str:
    """Without what differs from run to run; ``replaced`` are such words of this run, the longest first."""
    for word in sorted(replaced, key=len, reverse=True):
        text = text.replace(word, replaced[word])
    for pattern, instead in _CHANGING:
        text = pattern.sub(instead, text)
    return text


def check(name: str, text: str) -> None:
    """Against the beginning of the file of that name, up to the runbook's entry; it is written when that is asked for.

    The entry behind it is compared by ``tests/unit/contract/test_runbook_entries.py``, in no time.
    """
    file = FOLDER / f"{name}.txt"
    if os.environ.get(WRITE):
        file.write_text(f"{text}\n{explained(name.partition('-')[0])}")
    assert file.exists(), f"{file} is not there: run with {WRITE}=1, and read what it says"
    expected, _, _ = file.read_text().partition(f"\n{EXPLAIN}")
    differs = unified_diff(expected.splitlines(), text.splitlines(), "expected", "said", n=1)
    assert text == expected, "\n".join(differs)


def explained(code: str) -> str:
    """The command that prints the entry, and what it prints."""
    done = CliRunner().invoke(app, ["explain", code])
    assert done.exit_code == 0, done.output
    return f"{EXPLAIN}{code}\n{done.stdout}"
