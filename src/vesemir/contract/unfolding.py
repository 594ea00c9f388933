"""A body that may be packed with gzip (RFC 1952), unfolded within the limit for messages.

What it unfolds to is never larger in memory than the limit, whatever the bytes promise.
"""

import zlib

from vesemir.contract.json_body import BODY
from vesemir.domain.problem import Problem

GZIP = "gzip"
MOST_MEMBERS = 100
"""One or several (section 2.2). Each costs a copy of the rest, so thousands of empty ones would take long."""
_WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS


class UnfoldsTooLargeError(Exception):
    """It unfolds to more than the limit."""


def unfolded(body: bytes, encoding: str | None, *, max_bytes: int) -> bytes | Problem:
    """``encoding`` is the message's ``content_encoding``. Raises ``UnfoldsTooLargeError``."""
    if not encoding:
        return body
    if encoding != GZIP:
        return Problem("content_encoding", "must be gzip or left out")
    pieces, size = [], 0
    for _ in range(MOST_MEMBERS):
        member = zlib.decompressobj(_WITH_GZIP_HEADER)
        try:
            piece = member.decompress(body, max_bytes - size + 1)
        except zlib.error as error:
            return Problem(BODY, f"must be gzip, as its content_encoding says: {error}")
        size += len(piece)
        if size > max_bytes:
            raise UnfoldsTooLargeError
        if not member.eof:
            return Problem(BODY, "must be gzip, as its content_encoding says: it is cut off")
        pieces.append(piece)
        body = member.unused_data
        if not body:
            return b"".join(pieces)
    return Problem(BODY, f"must be gzip of at most {MOST_MEMBERS} members")
