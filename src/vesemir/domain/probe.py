"""Whether an HTTP answer is the one that a check waits for."""

import json

from vesemir.domain.action import HttpProbe
from vesemir.domain.visible import words_of_host


def refuse_answer(probe: HttpProbe, status: int, body: bytes) -> str | None:
    """Why the answer does not pass, in words; None when it does."""
    if status != probe.status:
        return f"{probe.url} answered {status}, expected {probe.status}"
    if probe.contains is not None and probe.contains.encode() not in body:
        return f"{probe.url} answered without {probe.contains!r}"
    if not probe.json:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return f"{probe.url} answered no JSON"
    for key, expected in probe.json.items():
        found = _at(document, key)
        if found != expected:
            return f"{probe.url} answered {key} = {words_of_host(repr(found))}, expected {expected!r}"
    return None


def _at(document: object, key: str) -> str | None:
    """The text at a dotted key; numbers and booleans as JSON writes them."""
    for part in key.split("."):
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    if isinstance(document, dict | list):
        return None  # and may be as deep as it likes
    return document if isinstance(document, str) else json.dumps(document)
