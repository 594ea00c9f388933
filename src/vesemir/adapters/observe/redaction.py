"""Takes secrets out of text: values that were registered, and passwords as URLs, DSNs and headers carry them.

It is applied to log lines, and by the engine to what hosts printed, which may be large and written by anybody: every
pattern begins with a literal and has only bounded repeats, so its time is linear in the text.
"""

import re
from urllib.parse import quote

HIDDEN = "•••"
SHORTEST = 4
"""A shorter value would blot out half of a text and guard nothing."""

_IN_URL = re.compile(r"(://[^\s/:@]{0,256}:)[^\s/]{1,1024}@")
_IN_DSN = re.compile(
    r"(?i)(pass(?:word|wd)\s{0,8}=\s{0,8})(?:'[^'\n]{1,1024}'|\"[^\"\n]{1,1024}\"|[^\s;&'\",]{1,1024})"
)
_IN_HEADER = re.compile(r"(?i)(authorization['\"]?\s{0,8}[:=]\s{0,8}['\"]?(?:basic|bearer)\s{1,8})[^\s'\"]{1,4096}")


class Secrets:
    """The values that must not be shown anywhere."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        """Also in the form that it has within a URL. Lines of a longer secret (a key) count each."""
        for line in value.splitlines():
            stripped = line.strip()
            self._values |= {text for text in (stripped, quote(stripped, safe="")) if len(text) >= SHORTEST}
        longest_first = sorted(self._values, key=lambda text: (-len(text), text))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def redact(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        text = _IN_URL.sub(rf"\g<1>{HIDDEN}@", text)
        text = _IN_DSN.sub(rf"\g<1>{HIDDEN}", text)
        return _IN_HEADER.sub(rf"\g<1>{HIDDEN}", text)


# The one registry of the process, as loguru's logger is the one log: a secret is secret wherever it is printed.
_SECRETS = Secrets()


def add_secret(value: str) -> None:
    """From now on nobody sees this value."""
    _SECRETS.add(value)


def redact(text: str) -> str:
    """The text without secrets."""
    return _SECRETS.redact(text)
