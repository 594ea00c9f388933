"""What a person types. ``main`` is the installed command; each command's module is imported when it is used."""

import gc
import sys
from io import TextIOWrapper


def main() -> None:
    """The entry point of the ``vesemir`` command."""
    gc.disable()  # imports leave no garbage worth looking for; the program has it enabled when a command begins
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has not all of Unicode still shows the rest
    from vesemir.cli.program import app  # noqa: PLC0415 -- this package is also imported by the one that wants one command

    app(prog_name="vesemir")
