"""What a wait saw last, passed on to the step that waits: for who looks at it, nothing depends on it.

It goes by the context of the task, not by arguments: every wait of a step may have something to report, however deep.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


@contextmanager
def seen_by(listener: Callable[[str], None]) -> Iterator[None]:
    """``listener`` gets the words of every ``saw`` within, in this task and in those that it starts."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def saw(words: str) -> None:
    """This is how it stands just now."""
    listener = _listener.get()
    if listener is not None:
        listener(words)
