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
    if unset := _without_settings(error):
        say(unset)
    return WRONG_USAGE if isinstance(error, UsageError) else NOT_DONE


def _without_settings(error: VesemirError) -> str:
    """Why the default address was asked, perhaps: there is no file that names another. "" for any other error."""
    from vesemir.engine.ports.broker import BrokerAwayError  # noqa: PLC0415 -- ``--help`` does without
    from vesemir.engine.ports.store import StoreAwayError  # noqa: PLC0415 -- the same
    from vesemir.settings import settings_file  # noqa: PLC0415 -- the same

    if not isinstance(error, (StoreAwayError, BrokerAwayError)) or (file := settings_file()).is_file():
        return ""
    hint = "VESEMIR_CONFIG names another"
    return f"there is no settings file {file} ({hint}); defaults and VESEMIR_* variables were used"
