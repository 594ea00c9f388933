"""The parts of a URL that may name several hosts: ``postgresql://user@one:5432,[2001:db8::1]:5432/record``.

The library's ``urlsplit`` refuses it since Python 3.11.4, where brackets are not at the two ends of one host.
"""

import re
from urllib.parse import SplitResult

_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
"""RFC 3986, appendix B."""


def url_parts(url: str) -> SplitResult:
    """As ``urlsplit``, of any text, and nothing is judged. ``hostname`` and ``port`` mean nothing of several hosts."""
    match = _URL.fullmatch(url)
    scheme, *others = (part or "" for part in match.groups()) if match else ("", "", url, "", "")
    return SplitResult(scheme.lower(), *others)
