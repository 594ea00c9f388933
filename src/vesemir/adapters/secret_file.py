"""A secret of the settings that is read again from its file: a rotated password needs no restart.

The files are looked at every few seconds and on SIGHUP (``FileWatch``), and at once when a login is refused
(``renewed``). Connections that are open stay as they are; the next one uses what was read last. An empty or unusable
file never replaces a secret that worked.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from vesemir.adapters.reloaded_files import Reading, ReloadedFiles
from vesemir.adapters.url_parts import url_parts
from vesemir.engine.ports.observe import Log, SilentLog


def _anything(text: str) -> str:
    del text
    return ""


class SecretFile:
    """``name`` is the setting, ``given`` its value at the start; without a ``file`` that is all there ever is.

    ``refuse`` says why a text is of no use ("": it is), ``hide`` keeps what is new out of the log.
    """

    def __init__(
        self,
        name: str,
        given: str,
        file: Path | None = None,
        *,
        log: Log,
        refuse: Callable[[str], str] = _anything,
        hide: Callable[[str], object] = _anything,
    ) -> None:
        self._name = name
        self._log = log
        self._refuse = refuse
        self._hide = hide
        self._reloading = ReloadedFiles.of(file, given, self._again)

    @classmethod
    def fixed(cls, name: str, given: str) -> Self:
        """One that no file can change."""
        return cls(name, given, log=SilentLog())

    @property
    def current(self) -> str:
        return self._reloading.current

    @property
    def problem(self) -> str:
        return self._reloading.problem

    def refresh(self) -> None:
        """Read the file if it has changed; not on the event loop."""
        self._reloading.refresh()

    async def renewed(self, refused: str) -> str | None:
        """Another secret than the one that was refused, if there is one now."""
        if self.current == refused:
            await asyncio.to_thread(self.refresh)
        return self.current if self.current != refused else None

    def _again(self, file: Path, before: str) -> Reading[str]:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            return self._kept(before, f"{file} cannot be read: {reason}", complete=not isinstance(error, OSError))
        refused = self._refuse(text) if text else "is empty"
        if refused:
            return self._kept(before, f"{file} {refused}")
        for each in hidden_of(text):
            self._hide(each)
        if text != before:
            self._log.info("{setting} was read again from {file}", setting=self._name, file=str(file))
        return Reading(text)

    def _kept(self, before: str, reason: str, *, complete: bool = True) -> Reading[str]:
        problem = f"{self._name}: {reason}; what was read before stays in use"
        if problem != self.problem:
            self._log.error("{problem}", problem=problem)
        return Reading(before, problem, complete=complete)


def hidden_of(text: str) -> list[str]:
    """What must never be shown of a secret: the whole, each line of it, and the password of an address."""
    lines = [line.strip() for line in text.splitlines()]
    return [each for each in dict.fromkeys((text, *lines, *map(_password, lines))) if each]


def _password(address: str) -> str:
    return unquote(url_parts(address).password or "")
