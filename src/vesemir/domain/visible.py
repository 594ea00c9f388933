"""Text from elsewhere, made safe to look at: what a terminal, a log or a reader would take for something else is shown.

A host, a node's name, a version or a reason may hold what moves the cursor, recolours or hides lines (control
characters), turns the order of letters around (bidirectional controls), or has no width at all. None of that is passed
on; none of it is dropped either, so that the one that looks sees that it was there. The one place for it.
"""

import re
from typing import Final

_HIDDEN: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1
    r"\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # Format characters (Unicode category Cf, bidirectional controls among them), line separators, tags, selectors
    r"\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u3164\uffa0"  # letters and marks without a width
    r"\ud800-\udfff"  # halves of characters: bytes that were no text
)
_MANY_LINES: Final = re.compile(f"[{_HIDDEN}]")
_ONE_LINE: Final = re.compile(rf"[{_HIDDEN}\n\t]")
_PICTURES: Final = {**{code: 0x2400 + code for code in range(0x20)}, 0x7F: 0x2421}
"""The pictures of control characters (Unicode block 2400)."""


def visible(text: str) -> str:
    """Lines and tabs stay. Other control characters of ASCII become their pictures (``␛``), the rest ``\\u202e``."""
    return _MANY_LINES.sub(_shown, text)


def visible_line(text: str) -> str:
    """The same for what is one line: a line feed in it would begin a line that looks like somebody else's."""
    return _ONE_LINE.sub(_shown, text)


def escaped_json(document: str) -> str:
    """A JSON document with the same characters as ``\\uXXXX`` (RFC 8259, section 7): its value does not change.

    For a document that was written with ``ensure_ascii=False``; its own line feeds stay.
    """
    return _MANY_LINES.sub(_as_json, document)


def words_of_host(text: str, *, longest: int = 300) -> str:
    """A host's own words for a message: on one line, cut, and nothing hidden in them."""
    line = " ".join(text[: 4 * longest].split())
    return visible_line(line if len(line) <= longest else f"{line[:longest]}…")


def _shown(found: "re.Match[str]") -> str:
    code = ord(found[0])
    if code in _PICTURES:
        return chr(_PICTURES[code])
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - the first plane


def _as_json(found: "re.Match[str]") -> str:
    code = ord(found[0])
    if code <= 0xFFFF:  # noqa: PLR2004 - the first plane
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
