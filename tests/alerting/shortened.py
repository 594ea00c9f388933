"""The shipped rules with a minute as a second, so that what fires after a quarter of an hour can be seen in a test.

Every duration is divided by ``FACTOR``: those of ranges and offsets in expressions, ``for`` and ``interval``. Nothing
else of a rule changes: the same expressions, thresholds, labels and annotations.
"""

import re
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).resolve().parents[2] / "config" / "prometheus" / "vesemir.rules.yml"
FACTOR = 60
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d+)([smhdw])")
_IN_EXPRESSION = re.compile(r"(?<=\[)\d+[smhdw](?=\])|(?<=offset )\d+[smhdw]")


def shorter(duration: str) -> str:
    """``15m`` is ``15s``."""
    found = _DURATION.fullmatch(duration)
    assert found is not None, duration
    seconds, rest = divmod(int(found[1]) * _SECONDS[found[2]], FACTOR)
    assert seconds > 0, f"{duration} is too short to be divided"
    assert rest == 0, f"{duration} does not divide"
    return f"{seconds}s"


def shortened_rules(file: Path = RULES) -> dict[str, Any]:
    """The whole file, as Prometheus reads it."""
    rules: dict[str, Any] = yaml.safe_load(file.read_text())
    for group in rules["groups"]:
        if "interval" in group:
            group["interval"] = shorter(group["interval"])
        for rule in group["rules"]:
            rule["expr"] = _IN_EXPRESSION.sub(lambda found: shorter(found[0]), rule["expr"])
            if "for" in rule:
                rule["for"] = shorter(rule["for"])
    return rules
