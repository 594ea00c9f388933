"""The table of docs/metrics.md and what an instance exposes, in one form: name to type and the values of each label."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from vesemir.domain.failure import FailureCode

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \|(.*?)\| (.+) \|$", re.MULTILINE)
ANY = "…"
"""In place of values that differ from one installation to the other."""
FREE = {"version", "python"}
BUCKET = "le"

Metrics = dict[str, tuple[str, dict[str, set[str]]]]


def documented() -> Metrics:
    found: Metrics = {}
    for name, kind, labels, _ in ROW.findall(DOCUMENT.read_text(encoding="utf-8")):
        assert name not in found, f"{name} stands there twice"
        found[name] = kind, dict(_label(label) for label in re.findall(r"`(\w+)`(?:: ([\w., ]+))?", labels))
    return found


def _label(found: tuple[str, str]) -> tuple[str, set[str]]:
    name, values = found
    if name == "code":
        return name, {code.value for code in FailureCode}
    return name, set(values.strip().split(", ")) if values else {ANY}


def exposed(text: str) -> Metrics:
    found: Metrics = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels: dict[str, set[str]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label != BUCKET:
                    labels.setdefault(label, set()).add(ANY if label in FREE else value)
        found[name] = family.type, labels
    return found
