"""One thing wrong with what somebody gave us, at the place where it stands."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """``field`` is the place in the reader's own terms (``parameters.version``); ``message`` says what to change."""

    field: str
    message: str
