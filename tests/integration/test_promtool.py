"""promtool on what is shipped in config/prometheus: the rules, their tests, and the example configuration."""

from pathlib import Path

import pytest
import yaml
from tests.alerting.prometheus import promtool

FOLDER = Path(__file__).resolve().parents[2] / "config" / "prometheus"


def test_the_rules_are_rules() -> None:
    status, said = promtool("check", "rules", str(FOLDER / "vesemir.rules.yml"))
    assert (status, "SUCCESS" in said) == (0, True), said


def test_the_example_configuration_is_one() -> None:
    status, said = promtool("check", "config", str(FOLDER / "prometheus.yml"))
    assert (status, "SUCCESS" in said) == (0, True), said


def test_the_rules_pass_their_tests() -> None:
    """Each alert fires when it must and is quiet when it must not."""
    status, said = promtool("test", "rules", str(FOLDER / "vesemir.rules.test.yml"))
    assert (status, "SUCCESS" in said) == (0, True), said


def test_every_alert_is_shown_to_fire_and_to_be_quiet() -> None:
    rules = yaml.safe_load((FOLDER / "vesemir.rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((FOLDER / "vesemir.rules.test.yml").read_text())["tests"]
    shown = [each for test in tests for each in test["alert_rule_test"]]
    assert {each["alertname"] for each in shown if each["exp_alerts"]} == alerts
    assert {each["alertname"] for each in shown if not each["exp_alerts"]} == alerts


@pytest.mark.parametrize(
    ("alert", "old", "new"),
    [
        ("VesemirQueueGrowing", '{waits_for!="pause"}', ""),
        ("VesemirQueueGrowing", "max by (job, waits_for)", "sum by (job, waits_for)"),
        ("VesemirPartDown", "unless on (job, instance) (vesemir_draining == 1)", ""),
        ("VesemirFailureRateUp", "and job:vesemir_deployments_failed:increase1h >= 5", ""),
        ("VesemirTakeovers", 'reason="expired"', 'reason=~".*"'),
        ("VesemirCpuHigh", "unless on (job, instance)\n", "and on (job, instance)\n"),
    ],
    ids=["a paused lane", "two see one queue", "a slow stop", "three at night", "a hand-over", "more work"],
)
def test_the_rules_tests_notice_a_change(tmp_path: Path, alert: str, old: str, new: str) -> None:
    """They are no tests that cannot fail."""
    rules = (FOLDER / "vesemir.rules.yml").read_text()
    assert old in rules
    (tmp_path / "vesemir.rules.yml").write_text(rules.replace(old, new))
    tests = yaml.safe_load((FOLDER / "vesemir.rules.test.yml").read_text())
    tests["tests"] = [
        test for test in tests["tests"] if alert in {each["alertname"] for each in test["alert_rule_test"]}
    ]
    (tmp_path / "test.yml").write_text(yaml.safe_dump(tests))
    status, said = promtool("test", "rules", str(tmp_path / "test.yml"))
    assert (status, "FAILED" in said) == (1, True), said
