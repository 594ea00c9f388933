"""Expected errors, told in lines that say what to do, and the exit statuses that go with them."""

from vesemir.cli.output import say
from vesemir.domain.failure import VesemirError

NOT_DONE = 1
WRONG_USAGE = 2
INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT."""


class UsageError(VesemirError):
    """The command was called in a way that makes no sense."""


class ProblemsError(VesemirError):
    """Several things are wrong; each is told in a line of its own."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))


def complain(error: VesemirError) -> int:
    """Say it on stderr; the exit status."""
    for line in str(error).splitlines():
        say(line)
    return WRONG_USAGE if isinstance(error, UsageError) else NOT_DONE
