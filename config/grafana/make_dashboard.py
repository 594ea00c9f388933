"""Writes vesemir.json, the dashboard for Grafana 9 and later: python config/grafana/make_dashboard.py

The panels stand below, one line for each query. A test keeps the file equal to them, and another asks a real Prometheus
for every query.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("vesemir.json")
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """``queries`` are expression to legend, with JOB and RATE to be filled in. ``stat``: only the last value, large."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    stat: bool = False


def quantile(share: float, metric: str, *by: str, where: str = "") -> str:
    """Of a histogram over all instances."""
    labels = ", ".join((*by, "le"))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{JOB{where}}}RATE)))"


def summed(metric: str, *by: str) -> str:
    """The rate of a counter over all instances, per label."""
    return f"sum by ({', '.join(by)}) (rate({metric}{{JOB}}RATE))"


ROWS: dict[str, list[Panel]] = {
    "Now": [
        Panel("Instances that take work", {"sum(vesemir_takes_work{JOB})": "instances"}, stat=True),
        Panel("Running", {"sum(vesemir_deployments_running{JOB})": "deployments"}, stat=True),
        Panel("Waiting", {"sum(max by (waits_for) (vesemir_deployments_waiting{JOB}))": "deployments"}, stat=True),
        Panel("Servers left drained", {"max(vesemir_servers_left_drained{JOB})": "servers"}, stat=True),
        Panel("Destinations parked", {"max(vesemir_outbox_parked_destinations{JOB})": "destinations"}, stat=True),
        Panel("Versions", {"count by (version) (vesemir_build_info{JOB})": "{{version}}"}, stat=True),
    ],
    "Deployments": [
        Panel(
            "Ended per hour",
            {
                "sum by (status) (increase(vesemir_deployments_finished_total{JOB}[1h]))": "{{status}}",
                "sum(increase(vesemir_dry_runs_finished_total{JOB}[1h]))": "dry run",
            },
        ),
        Panel(
            "Failed, of all that ended",
            {
                'sum(increase(vesemir_deployments_finished_total{JOB, status=~"failed|timed_out|rolled_back"}[1h]))'
                ' / sum(increase(vesemir_deployments_finished_total{JOB, status!="cancelled"}[1h]))': "this hour",
                'sum(increase(vesemir_deployments_finished_total{JOB, status=~"failed|timed_out|rolled_back"}[1w]))'
                ' / sum(increase(vesemir_deployments_finished_total{JOB, status!="cancelled"}[1w]))': "this week",
            },
            unit="percentunit",
        ),
        Panel(
            "Failures of deployments",
            {"topk(10, sum by (code) (increase(vesemir_deployment_failures_total{JOB}[1h])))": "{{code}}"},
        ),
        Panel(
            "Failures of targets",
            {"topk(10, sum by (code) (increase(vesemir_target_failures_total{JOB}[1h])))": "{{code}}"},
        ),
        Panel("Targets ended per second", {summed("vesemir_targets_finished_total", "status"): "{{status}}"}),
        Panel("Steps ended per second", {summed("vesemir_steps_finished_total", "status"): "{{status}}"}),
    ],
    "How long it takes": [
        Panel(
            "Deployments that succeeded",
            {
                quantile(0.5, "vesemir_deployment_duration_seconds", where=', status="succeeded"'): "p50",
                quantile(0.95, "vesemir_deployment_duration_seconds", where=', status="succeeded"'): "p95",
            },
            unit="s",
        ),
        Panel("Targets", {quantile(0.95, "vesemir_target_duration_seconds"): "p95"}, unit="s"),
        Panel("Steps", {quantile(0.95, "vesemir_step_duration_seconds"): "p95"}, unit="s"),
        Panel("Phases, p95", {quantile(0.95, "vesemir_phase_duration_seconds", "phase"): "{{phase}}"}, unit="s"),
    ],
    "In and out": [
        Panel("Deploy events per second", {summed("vesemir_events_received_total", "outcome"): "{{outcome}}"}),
        Panel(
            "Refused per hour",
            {"topk(10, sum by (code) (increase(vesemir_events_rejected_total{JOB}[1h])))": "{{code}}"},
        ),
        Panel(
            "Locked lanes, and deployments past a lock or freeze",
            {
                "max(vesemir_lanes_locked{JOB})": "locked lanes",
                "sum(increase(vesemir_break_glass_total{JOB}[1h]))": "glasses broken per hour",
            },
        ),
        Panel(
            "Control messages per second",
            {summed("vesemir_control_received_total", "command", "outcome"): "{{command}} {{outcome}}"},
        ),
        Panel("Waiting, by what for", {"max by (waits_for) (vesemir_deployments_waiting{JOB})": "{{waits_for}}"}),
        Panel(
            "The oldest that waits",
            {
                "max(vesemir_deployments_waiting_oldest_seconds{JOB})": "deployment",
                "max(vesemir_outbox_oldest_seconds{JOB})": "event",
            },
            unit="s",
        ),
        Panel(
            "Outbox",
            {
                "max(vesemir_outbox_events{JOB})": "events to publish",
                "max(vesemir_outbox_failing_destinations{JOB})": "destinations that refuse",
                "sum(increase(vesemir_destinations_parked_total{JOB}[1h]))": "destinations parked this hour",
            },
        ),
        Panel("Events published per second", {summed("vesemir_events_published_total", "outcome"): "{{outcome}}"}),
        Panel("Broker's answer", {quantile(0.99, "vesemir_publish_duration_seconds"): "p99"}, unit="s"),
    ],
    "What went wrong with instances": [
        Panel(
            "Leases",
            {
                summed("vesemir_lease_renewals_total", "outcome"): "{{outcome}} per second",
                "sum(increase(vesemir_leases_lost_total{JOB}[1h]))": "lost this hour",
            },
        ),
        Panel("Takeovers per hour", {"sum by (reason) (increase(vesemir_takeovers_total{JOB}[1h]))": "{{reason}}"}),
        Panel("Steps redone per hour", {"sum(increase(vesemir_steps_redone_total{JOB}[1h]))": "steps"}),
        Panel(
            "Targets left drained per hour", {"sum(increase(vesemir_targets_left_drained_total{JOB}[1h]))": "targets"}
        ),
        Panel("Parts", {"min by (instance, part) (vesemir_part_up{JOB})": "{{instance}} {{part}}"}),
        Panel(
            "Takes work, draining",
            {"vesemir_takes_work{JOB}": "{{instance}} takes work", "vesemir_draining{JOB}": "{{instance}} draining"},
        ),
    ],
    "Each instance": [
        Panel("CPU", {"rate(process_cpu_seconds_total{JOB}RATE)": "{{instance}}"}, unit="percentunit"),
        Panel("Memory", {"process_resident_memory_bytes{JOB}": "{{instance}}"}, unit="bytes"),
        Panel(
            "File descriptors in use",
            {"process_open_fds{JOB} / process_max_fds{JOB}": "{{instance}}"},
            unit="percentunit",
        ),
        Panel("Loop lag, p99", {quantile(0.99, "vesemir_loop_lag_seconds", "instance"): "{{instance}}"}, unit="s"),
        Panel(
            "Standing still for garbage",
            {"rate(vesemir_gc_pause_seconds_sum{JOB}RATE)": "{{instance}}"},
            unit="percentunit",
        ),
        Panel(
            "SSH",
            {
                "vesemir_ssh_sessions{JOB}": "{{instance}} sessions",
                "vesemir_ssh_handshakes{JOB}": "{{instance}} handshakes",
                "increase(vesemir_ssh_logins_repeated_total{JOB}[1h])": "{{instance}} logins repeated per hour",
            },
        ),
        Panel("Deployments running", {"vesemir_deployments_running{JOB}": "{{instance}}"}),
        Panel("Tasks", {"vesemir_tasks{JOB}": "{{instance}}"}),
    ],
}


def dashboard() -> dict[str, Any]:
    """As Grafana imports it; the data source and the job are chosen at its top."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, top, COLUMNS, 1)})
        top += 1
        across, height = (6, 4) if row[0].stat else (2, 8)
        wide = COLUMNS // across
        for number, panel in enumerate(row):
            place = _place(number % across * wide, top + number // across * height, wide, height)
            panels.append(_panel(panel) | {"gridPos": place})
        top += -(-len(row) // across) * height
    for number, panel_json in enumerate(panels, start=1):
        panel_json["id"] = number
    return {
        "uid": "vesemir",
        "title": "Vesemir",
        "description": "Made by config/grafana/make_dashboard.py; docs/metrics.md says what each metric means.",
        "tags": ["vesemir"],
        "schemaVersion": 37,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source_variable(), _job_variable()]},
        "panels": panels,
    }


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {} if panel.stat else {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": expression.replace("JOB", 'job=~"$job"').replace("RATE", "[$__rate_interval]"),
                "legendFormat": legend,
            }
            for number, (expression, legend) in enumerate(panel.queries.items())
        ],
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _job_variable() -> dict[str, Any]:
    query = "label_values(vesemir_takes_work, job)"
    return {
        "name": "job",
        "label": "Installation",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "job"},
        "definition": query,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
