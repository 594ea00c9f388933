"""One thing wrong with what somebody gave us, at the place where it stands."""

from collections.abc import Sequence
from dataclasses import dataclass

from vesemir.domain.failure import FailureCode


@dataclass(frozen=True, slots=True)
class Problem:
    """``field`` is the place in the reader's own terms (``parameters.version``); ``message`` says what to change.

    ``code``: what it is a case of, if that is not what problems at this place usually are. ``rule``: the policy's that
    has something against it, which stands in the message too.
    """

    field: str
    message: str
    code: FailureCode | None = None
    rule: str | None = None


_NAMED = 5


def some_of(reasons: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = f" and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return f"{'; '.join(reasons[:_NAMED])}{more}"
