"""One GET over HTTP, as every client does it."""

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit


def get(url: str, *, timeout: float = 10) -> tuple[int, Any]:
    """(status, JSON body). Raises ``OSError``, ``HTTPException`` or ``ValueError`` when there is no such answer."""
    parts = urlsplit(url)
    connection = HTTPConnection(str(parts.hostname), parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def page(url: str, *, timeout: float = 10) -> Any:
    """The body of an answer with status 200. Raises what ``get`` raises, and ``ValueError`` for another status."""
    status, body = get(url, timeout=timeout)
    if status != 200:
        raise ValueError(f"{url} answered {status}")
    return body
