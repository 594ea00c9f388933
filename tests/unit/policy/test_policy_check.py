"""What ``vesemir check`` says of a policy file."""

import itertools
from pathlib import Path

import pytest

from vesemir.cli.checks import Finding, findings

NO_CONTROL = (
    "has no [[control]]: whoever may publish control messages may cancel, pause and approve every deployment, and"
)


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (tmp_path / "vesemir.toml").write_text("")
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "vesemir.toml"))
    monkeypatch.setenv("VESEMIR_POLICY__FILE", str(tmp_path / "policy.toml"))
    return tmp_path / "policy.toml"


def found(count: int) -> list[Finding]:
    """So many lines about the policy; what comes after it would need servers."""
    return list(itertools.islice((each for each in findings() if each.part == "policy"), count))


def test_without_control_rules_it_warns_that_everybody_may_control(policy: Path) -> None:
    policy.write_text("[[allow]]\nname = 'a'\nhaproxy = false\n")
    good, warning = found(2)
    assert good.detail == f"{policy}: 1 permission; 0 freezes; 0 limits; 0 control rules"
    assert (warning.ok, warning.warning) == (True, True)
    assert NO_CONTROL in warning.detail


def test_with_a_control_rule_it_does_not(policy: Path) -> None:
    policy.write_text("[[control]]\nname = 'a'\nidentities = ['on-call']\n")
    (line,) = found(1)
    assert line == Finding("policy", ok=True, detail=f"{policy}: 0 permissions; 0 freezes; 0 limits; 1 control rule")


def test_a_rule_that_lets_everybody_break_the_glass_is_noted(policy: Path) -> None:
    policy.write_text(
        "[[allow]]\nname = 'a'\nhaproxy = false\nbreak_glass = true\n"
        "[[allow]]\nname = 'b'\nhaproxy = false\nbreak_glass = true\nusers = ['on-call']\n"
        "[[control]]\nname = 'a'\nidentities = ['on-call']\n"
    )
    (line,) = found(1)
    assert line.ok
    assert "note: allow a has break_glass and neither users nor groups" in line.detail


def test_a_mistake_is_told_with_its_line(policy: Path) -> None:
    policy.write_text("[[control]]\nname = 'a'\ncommand = ['cancel']\n[[identity]]\nname = 'b'\n")
    lines = found(2)
    assert not any(line.ok for line in lines)
    told = " ".join(line.detail for line in lines)
    assert f"{policy}:3: control[0].command: unknown key" in told
    assert f"{policy}:4: identity[0].is: is missing" in told
