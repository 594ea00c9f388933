"""Takes secrets out of text: values that were registered, and passwords as URLs, DSNs, headers and PEM keys carry them.

It is applied to log lines, and by the engine to what hosts printed, which may be large and written by anybody: every
pattern begins with a literal and has only bounded repeats, so its time is linear in the text.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from vesemir.domain.hiding import HIDDEN, Redactor

_IN_URL = re.compile(r"(://[^\s/:@]{0,256}:)[^\s/]{1,1024}@")
_IN_DSN = re.compile(
    r"(?i)(pass(?:word|wd)\s{0,8}=\s{0,8})(?:'[^'\n]{1,1024}'|\"[^\"\n]{1,1024}\"|[^\s;&'\",]{1,1024})"
)
_IN_HEADER = re.compile(r"(?i)(authorization['\"]?\s{0,8}[:=]\s{0,8}['\"]?(?:basic|bearer)\s{1,8})[^\s'\"]{1,4096}")
# Up to the next five hyphens, those of the key's end, or the next key's beginning: nothing is looked at twice.
_IN_KEY = re.compile(r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)(?:[^-]|-(?!----)){1,65536}")


def _patterns(text: str) -> str:
    text = _IN_URL.sub(rf"\g<1>{HIDDEN}@", text)
    # Both look at every character, whatever its case: worth it only where there is something to find.
    lowered = text.lower()
    if "pass" in lowered:
        text = _IN_DSN.sub(rf"\g<1>{HIDDEN}", text)
    if "authorization" in lowered:
        text = _IN_HEADER.sub(rf"\g<1>{HIDDEN}", text)
    return _IN_KEY.sub(rf"\g<1>{HIDDEN}", text)


# The one registry of the process, as loguru's logger is the one log: a secret is secret wherever it is printed.
_SECRETS = Redactor(_patterns)
_HERE: ContextVar[Callable[[str], str] | None] = ContextVar("hiding", default=None)


def add_secret(value: str) -> None:
    """From now on nobody sees this value."""
    _SECRETS.add([value])


def redact(text: str) -> str:
    """The text without secrets."""
    return _SECRETS(text)


def redact_here(text: str) -> str:
    """The text without secrets, those of the deployment in whose context this is called among them."""
    return (_HERE.get() or _SECRETS)(text)


@contextmanager
def hiding(take_out: Callable[[str], str]) -> Iterator[None]:
    """Within this context, and in the tasks begun in it, log lines are told without what ``take_out`` takes out."""
    token = _HERE.set(take_out)
    try:
        yield
    finally:
        _HERE.reset(token)
