"""Terminals and pipes whose encoding has not all of Unicode: commands print there, what is missing as its number."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from vesemir.cli import program
from vesemir.cli.output import print_json, say, show, table
def app(prog_name):
    show(table("name", rows=[["caf\u00e9 \u2026 \U0001f600"]]), "\u2026")
    say("\u2026")
    print_json({"name": "caf\u00e9 \u2026 \U0001f600"})
program.app = app
from vesemir.cli import main
main()
"""


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_everything_is_printed(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, env={"PYTHONIOENCODING": encoding}, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.decode(encoding)
    assert ("\u2026" if encoding == "utf-8" else "\\u2026") in printed
    assert ("caf\\xe9" if encoding == "ascii" else "caf\u00e9") in printed
    assert json.loads(printed[printed.index("{") :]) == {"name": "caf\u00e9 \u2026 \U0001f600"}
    assert done.stderr.decode(encoding).startswith("vesemir: ")
