"""The example for Vector: it is TOML, its parts fit together, and the fields that it names are those of real lines.

Vector itself is not at hand here: its own `vector validate` is the operator's to run.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from vesemir.adapters.observe import engine_log, set_up_logging

EXAMPLE = Path(__file__).parents[3] / "config" / "vector" / "vesemir.toml"
UNIT = Path(__file__).parents[3] / "systemd" / "vesemir.service"
KINDS = {"sources": {"journald"}, "transforms": {"remap"}, "sinks": {"loki"}}


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """As a target's session writes it."""
    set_up_logging("INFO", "json")
    log = engine_log(instance="here/1")
    context = {"deployment_id": "d1", "epoch": 1, "application": "shop", "environment": "production"}
    with log.context(**context, target="web1", step="drain"):
        log.info("finished: {status}", status="succeeded")
    logger.remove()
    logger.configure(extra={}, patcher=lambda _: None)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_its_parts_are_of_known_kinds_and_feed_each_other(example: dict[str, Any]) -> None:
    assert set(example) == set(KINDS)
    for part, known in KINDS.items():
        assert {each["type"] for each in example[part].values()} <= known
    fed = {name for part in ("transforms", "sinks") for each in example[part].values() for name in each["inputs"]}
    assert fed == {*example["sources"], *example["transforms"]}, "everything is used, and nothing else is asked for"


def test_it_reads_the_unit_that_is_shipped(example: dict[str, Any]) -> None:
    assert UNIT.name in example["sources"]["vesemir_journal"]["include_units"]


def test_the_fields_that_it_names_are_in_every_line_of_a_deployment(
    example: dict[str, Any], line: dict[str, Any]
) -> None:
    program = example["transforms"]["vesemir_lines"]["source"]
    read = set(re.findall(r"\.([a-z_]+)\b", program)) - {"host", "message", "timestamp"}
    labels = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(example["sinks"]["loki"]["labels"]))) - {"host"}
    asked = set(re.findall(r"^#.*\| json \| (\w+) =", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))
    assert read == {"time"}
    assert labels | asked
    assert read | labels | asked <= set(line)


def test_no_label_has_more_than_a_few_values(example: dict[str, Any]) -> None:
    assert not {"deployment_id", "target", "step", "epoch", "instance"} & set(example["sinks"]["loki"]["labels"])
