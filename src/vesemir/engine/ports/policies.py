"""The port to the operator's policy."""

from typing import Protocol

from vesemir.domain.policy import Policy


class Policies(Protocol):
    """The rules in force. They may change at any time; a broken change never replaces good rules."""

    @property
    def current(self) -> Policy: ...

    def refresh(self) -> None:
        """Look whether they have changed. It may read a file, so not on the event loop."""
        ...
