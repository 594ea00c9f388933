"""Whether an HTTP answer is the one that a check waits for."""

import json

from vesemir.domain.action import HttpProbe
from vesemir.domain.visible import words_of_host

_SHOWN = 100
"""Characters of an answer, for a text."""
_MOST_KEYS = 10


def refuse_answer(probe: HttpProbe, status: int, body: bytes, *, coding: str = "", cut: bool = False) -> str | None:
    """Why the answer does not pass, in words; None when it does. ``coding``: what it is encoded with, which cannot be
    read; ``cut``: there was more of it."""
    if status != probe.status:
        return f"{probe.url} answered {status}, expected {probe.status}"
    if coding and (probe.json or probe.contains is not None):
        return f"{probe.url} answered with Content-Encoding {words_of_host(coding, longest=40)}, which is not read"
    more = f"; only the first {len(body) // 1024} KiB of its answer are read: let it answer less" if cut else ""
    if probe.contains is not None and probe.contains.encode() not in body:
        return f"{probe.url} answered without {probe.contains!r}{more}"
    return _refuse_json(probe, body, more) if probe.json else None


def _refuse_json(probe: HttpProbe, body: bytes, more: str) -> str | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return f"{probe.url} answered no JSON{more or _beginning(body)}"
    for key, expected in probe.json.items():
        found = _at(document, key)
        if found is None:
            return f"{probe.url} answered JSON without {key} as text or number, expected {expected!r}{_keys(document)}"
        if found != expected:
            return f"{probe.url} answered {key} = {words_of_host(repr(found))}, expected {expected!r}"
    return None


def _beginning(body: bytes) -> str:
    words = words_of_host(body[:400].decode("utf-8", "replace"), longest=_SHOWN)
    return f" but {words!r}" if words else " but nothing"


def _keys(document: object) -> str:
    """Which there are at the top: the wanted one may be further down."""
    if not isinstance(document, dict) or not document:
        return ""
    return f"; it has {words_of_host(', '.join(list(document)[:_MOST_KEYS]), longest=_SHOWN)}"


def _at(document: object, key: str) -> str | None:
    """The text at a dotted key; numbers and booleans as JSON writes them."""
    for part in key.split("."):
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    if isinstance(document, dict | list):
        return None  # and may be as deep as it likes
    return document if isinstance(document, str) else json.dumps(document)
