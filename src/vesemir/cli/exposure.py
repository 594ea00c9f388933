"""What ``vesemir check`` warns of: an installation that works, and that somebody could listen to or misuse."""

from collections.abc import Iterator

from vesemir.plaintext import plaintext
from vesemir.settings import Settings


def exposures(settings: Settings) -> Iterator[str]:
    """One sentence each: what is open, and which setting closes it."""
    yield from plaintext(settings)
    if settings.policy.file is None:
        yield (
            "policy.file is not set: every requester may deploy every application to every host, and whoever may "
            "publish control messages may cancel, pause and approve every deployment"
        )
