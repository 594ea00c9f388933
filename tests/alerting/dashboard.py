"""The queries of the dashboard, as Grafana would ask them."""

import json
from collections.abc import Iterator
from pathlib import Path

from tests.alerting.prometheus import JOB

FILE = Path(__file__).resolve().parents[2] / "config" / "grafana" / "vesemir.json"
INTERVAL = "5m"
"""In place of ``$__rate_interval``: all of a test's run."""


def queries() -> Iterator[tuple[str, str]]:
    """(title of the panel, the query with its variables filled in)."""
    for panel in json.loads(FILE.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$job", JOB).replace("$__rate_interval", INTERVAL)
