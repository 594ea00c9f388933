"""Who is called when something changes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Listeners:
    """Called in the order in which they came, and not any more once they have left."""

    def __init__(self) -> None:
        self._listeners: dict[Callable[[], None], None] = {}

    def add(self, listener: Callable[[], None]) -> None:
        self._listeners[listener] = None

    def remove(self, listener: Callable[[], None]) -> None:
        self._listeners.pop(listener, None)

    @contextmanager
    def hearing(self, listener: Callable[[], None]) -> Iterator[None]:
        self.add(listener)
        try:
            yield
        finally:
            self.remove(listener)

    def call(self) -> None:
        for listener in list(self._listeners):
            if listener in self._listeners:  # one that was called before it may have ended it
                listener()
