"""How an artifact that hosts download looks from this instance: words for the failure of a dry run, nothing more.

Whether a deployment would succeed only a target can tell: the instance may stand behind another firewall.
"""

import asyncio
import http.client
import urllib.request
from typing import Final
from urllib.parse import urlsplit, urlunsplit

SECONDS: Final = 10.0


async def artifact_seen(url: str) -> str:
    """What HEAD of an ``http(s)://`` address says here. Sent without the login that the address may have."""
    parts = urlsplit(url)
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return await asyncio.to_thread(_head, shown)


def _head(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        return "it is not downloaded"
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - http and https only
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - the same
            return f"HTTP status {answer.status}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error)
