"""docs/metrics.md, the rules and the dashboard name what there is; each alert has its entry in the runbook."""

import importlib.util
import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.alerting.dashboard import FILE, queries
from tests.alerting.documented import documented, exposed
from tests.alerting.shortened import RULES, shortened_rules, shorter

from vesemir.adapters.amqp.broker import CONSUME_PART, PUBLISH_PART
from vesemir.adapters.observe import PrometheusMeters
from vesemir.cli.explain import entries_of, find
from vesemir.engine.upkeep.health import HealthRegistry
from vesemir.engine.upkeep.record_watch import READING_PART, RECORD_PART

ROOT = Path(__file__).resolve().parents[3]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
ENTRIES = {
    name: (anchor, text)
    for anchor, name, text in re.findall(
        r'^<a id="(alert-[a-z-]+)"></a>\n### (\w+)\n(.*?)(?=^<a id|^# |\Z)', RUNBOOK, re.MULTILINE | re.DOTALL
    )
}
SUFFIXES = re.compile(r"_(bucket|sum|count)$")
OURS = re.compile(r"(?<![\w:])(?:vesemir|process|python)_\w+")


def names_in(expression: str) -> set[str]:
    """Of metrics, as docs/metrics.md has them."""
    found = set(OURS.findall(re.sub(r'"[^"]*"', "", expression)))
    return {SUFFIXES.sub("", name) if name not in documented() else name for name in found}


def test_the_table_is_what_an_instance_exposes() -> None:
    health = HealthRegistry()
    for part in (
        PUBLISH_PART,
        CONSUME_PART,
        RECORD_PART,
        READING_PART,
        "recipes",
        "policy",
        "inventory",
        "chef",
        "ssh",
        "secrets",
        "tls",
    ):
        health.expect(part)
    text, _ = PrometheusMeters().exposition(health)
    assert exposed(text.decode()) == documented()


def test_the_rules_ask_for_metrics_that_there_are() -> None:
    """Or that they record themselves."""
    recorded = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
    for group in GROUPS:
        for rule in group["rules"]:
            assert names_in(rule["expr"]) <= documented().keys(), rule
            assert set(re.findall(r"\b(?:job|instance):\w+:\w+", rule["expr"])) <= recorded, rule


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    asked = [names_in(query) for _, query in queries()]
    assert all(asked)
    assert set().union(*asked) <= documented().keys()


def test_every_metric_of_our_own_is_on_the_dashboard() -> None:
    shown = set().union(*(names_in(query) for _, query in queries()))
    ours = {name for name in documented() if name.startswith("vesemir_")}
    assert ours - shown == set()


def test_the_dashboard_is_what_its_script_makes() -> None:
    script = ROOT / "config" / "grafana" / "make_dashboard.py"
    spec = importlib.util.spec_from_file_location("make_dashboard", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.text() == module.FILE.read_text(encoding="utf-8"), "run python config/grafana/make_dashboard.py"


def test_the_panels_of_the_dashboard_stand_side_by_side() -> None:
    """Each in Grafana's 24 columns, none on top of another, each with an id of its own."""
    panels = json.loads(FILE.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        assert place["x"] + place["w"] <= 24
        cells = set(product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_alerts_and_runbook_entries_are_the_same_in_the_same_order() -> None:
    assert list(ALERTS) == list(ENTRIES)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    anchor, _ = ENTRIES[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{anchor}"


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_s_entry_says_what_it_means_how_to_tell_how_to_mend_and_whom_to_call(name: str) -> None:
    _, text = ENTRIES[name]
    parts = re.findall(r"^\*\*(Meaning|Confirm|Mend|Call)\b\.?\*\* *(.*?)(?=^\*\*|\Z)", text, re.MULTILINE | re.DOTALL)
    assert [part for part, _ in parts] == ["Meaning", "Confirm", "Mend", "Call"]
    assert re.search(r"`[^`]+`", parts[1][1]), "how to confirm names a command"


@pytest.mark.parametrize("name", ALERTS)
def test_explain_knows_every_alert(name: str) -> None:
    assert find(name, list(entries_of(RUNBOOK))).title == name


def test_the_runbook_s_queries_ask_for_what_there_is() -> None:
    recorded = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
    for _, text in ENTRIES.values():
        for query in re.findall(r"PROMETHEUS:9090\s+'([^']+)'", text):
            assert names_in(query) <= documented().keys()
            assert set(re.findall(r"\b(?:job|instance):\w+:\w+", query)) <= recorded
            assert names_in(query) or ":" in query


def test_shortened_rules_differ_in_durations_only() -> None:
    """The provoked alerts of the tests are the shipped ones."""
    assert (shorter("15m"), shorter("1h"), shorter("1w")) == ("15s", "60s", "10080s")

    def without(text: str) -> str:
        return re.sub(r"\b\d+[smhdw]\b", "*", text)

    for group, short in zip(GROUPS, shortened_rules()["groups"], strict=True):
        for rule, quick in zip(group["rules"], short["rules"], strict=True):
            assert rule.keys() == quick.keys()
            for field in rule.keys() - {"expr", "for"}:
                assert rule[field] == quick[field]
            assert without(rule["expr"]) == without(quick["expr"])
            assert not re.search(r"\b\d+[mhdw]\b", quick["expr"])
