"""What of one deployment nobody may see, taken out of any text. Pure.

A secret is looked for as it is, line by line, in any case, and in the forms that programs print it in: quoted for a URL
or a shell, escaped as in JSON, XML or HTML, in hexadecimal digits, in base64 at any place of a longer text. A program
that prints it in another form (encrypted, reversed, in pieces) is not found out.
"""

import base64
import html
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "•••"
SHORTEST = 4
"""A shorter value would blot out half of a text and guard nothing."""

_URL_PASSWORD = re.compile(r"://[^\s/:@]{0,256}:([^\s/]{1,1024})@")
_TELLING_NAME = re.compile(r"(?i)passw|passphrase|secret|token|credential|(?:api|private|access|auth)_?key")
_NAMES_A_PLACE = re.compile(r"(?i)_(?:file|path|dir|id|name|type|url|seconds)$")
_SHORTEST_BY_NAME = 6
"""What only a variable's name makes a secret is more often a word that must stay readable."""


def spellings(secret: str) -> Iterator[str]:
    """The forms in which a secret is looked for; each line of a longer one (a key) counts by itself."""
    for line in {secret.strip(), *(line.strip() for line in secret.splitlines())}:
        if len(line) >= SHORTEST:
            yield line
            yield from _quoted(line)
            yield from _encoded(line.encode("utf-8", "surrogateescape"))


def _quoted(line: str) -> Iterator[str]:
    yield from (quote(line, safe=""), quote(line, errors="replace"), quote_plus(line))
    yield from (json.dumps(line)[1:-1], json.dumps(line, ensure_ascii=False)[1:-1], repr(line)[1:-1])
    yield from (html.escape(line), html.escape(line, quote=False), html.escape(line).replace("&#x27;", "&#39;"))
    # As `shlex.quote`, `set -x` and `printf %q` write it.
    yield from (shlex.quote(line).removeprefix("'").removesuffix("'"), line.replace("'", r"'\''"))
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", line)


def _encoded(data: bytes) -> Iterator[str]:
    yield from (data.hex(), data.hex(" "), data.hex(":"))
    for before in range(3):
        # Three bytes make four digits: the first and last digits also depend on what stands beside the secret.
        at_the_end = base64.b64encode(b"\0" * before + data).decode("ascii").rstrip("=")[(0, 2, 3)[before] :]
        within = at_the_end[: (before + len(data)) * 4 // 3 - (0, 2, 3)[before]]
        for digits in (at_the_end, within):
            if len(digits) >= SHORTEST:
                yield digits
                yield digits.replace("+", "-").replace("/", "_")


def passwords_in(text: str) -> set[str]:
    """Of the addresses in it, as they stand there and as they are meant."""
    found = set(_URL_PASSWORD.findall(text))
    return found | {unquote(password) for password in found}


def is_telling(name: str) -> bool:
    """Whether a variable's name says that its value is a secret: ``DB_PASSWORD``, but not ``DB_PASSWORD_FILE``."""
    return _TELLING_NAME.search(name) is not None and _NAMES_A_PLACE.search(name) is None


def told_by_name(name: str, value: str) -> bool:
    """Whether this variable's value is hidden for its name alone."""
    return len(value) >= _SHORTEST_BY_NAME and is_telling(name)


class Redactor:
    """Takes secrets out of texts; ``also`` is what is taken out for everybody. Grows by ``add``."""

    def __init__(self, also: Callable[[str], str] = str) -> None:
        self._also = also
        self._secrets: set[str] = set()
        self._forms: tuple[str, ...] = ()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str]) -> None:
        """From now on nobody sees these."""
        new = set(secrets) - self._secrets
        if not new:
            return
        self._secrets |= new
        forms = {form.lower() for secret in self._secrets for form in spellings(secret)}
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))
        self._pattern = re.compile("|".join(map(re.escape, self._forms)), re.IGNORECASE) if self._forms else None

    def __call__(self, text: str) -> str:
        # Looking for each is far quicker than the pattern, and most texts hold none of them.
        if self._pattern is not None and self._holds_one(text.lower()):
            text = self._pattern.sub(HIDDEN, text)
        return self._also(text)

    def _holds_one(self, lowered: str) -> bool:
        return any(form in lowered for form in self._forms)

    def tail(self, text: str) -> str:
        """The same for the end of something longer, which may begin in the middle of a secret."""
        longest = max(map(len, self._forms), default=0)
        lowered = text[:longest].lower()
        for form in self._forms:
            for cut in range(1, len(form) - SHORTEST + 1):
                if lowered.startswith(form[cut:]):
                    return self(HIDDEN + text[len(form) - cut :])
        return self(text)
