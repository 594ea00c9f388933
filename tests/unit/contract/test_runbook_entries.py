"""Every failure code has its runbook entry, complete, under the anchor that the failure names; none is left over."""

import os
import re
from pathlib import Path

import pytest
from tests.acceptance.expected_text import EXPLAIN, FOLDER, WRITE, explained

from vesemir.domain.failure import Failure, FailureCode

RUNBOOK = (Path(__file__).resolve().parents[3] / "docs" / "runbook.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r'^<a id="([^"]+)"></a>\n## (\S+)\n(.*?)(?=^<a id|^# |\Z)', RUNBOOK, re.MULTILINE | re.DOTALL)
BY_CODE = {code: (anchor, text) for anchor, code, text in ENTRIES}


def test_entries_and_codes_are_the_same_in_the_same_order() -> None:
    assert [code for _, code, _ in ENTRIES] == [code.value for code in FailureCode]


def test_no_heading_that_looks_like_a_code_is_without_its_anchor() -> None:
    headings = re.findall(r"^#+ ([a-z]+\.[a-z_]+)\s*$", RUNBOOK, re.MULTILINE)
    assert headings == [code for _, code, _ in ENTRIES]


@pytest.mark.parametrize("code", list(FailureCode))
def test_a_failure_points_to_its_entry(code: FailureCode) -> None:
    anchor, _ = BY_CODE[code.value]
    assert Failure(code, "text").as_json()["runbook"] == f"docs/runbook.md#{anchor}"


@pytest.mark.parametrize("code", list(FailureCode))
def test_an_entry_says_what_it_means_how_to_tell_how_to_mend_and_whom_to_call(code: FailureCode) -> None:
    _, text = BY_CODE[code.value]
    parts = re.findall(r"^\*\*(Meaning|Confirm|Mend|Call)\b\.?\*\* *(.*?)(?=^\*\*|\Z)", text, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in parts] == ["Meaning", "Confirm", "Mend", "Call"]
    assert all(len(words.split()) >= (1 if name == "Call" else 3) for name, words in parts)
    assert re.search(r"`[^`]+`", parts[1][1]), "how to confirm names a command, a field or an event"


def test_internal_links_lead_somewhere() -> None:
    anchors = {anchor for anchor, _, _ in ENTRIES}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= anchors


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.txt")))
def test_what_a_provoked_failure_is_explained_by_stands_beside_its_status(name: str) -> None:
    """``tests/acceptance/provoked``: both are judged together. VESEMIR_WRITE_EXPECTED=1 writes the entries anew."""
    file = FOLDER / f"{name}.txt"
    status, _, _ = file.read_text().partition(f"\n{EXPLAIN}")
    text = f"{status}\n{explained(name.partition('-')[0])}"
    if os.environ.get(WRITE):
        file.write_text(text)
    assert file.read_text() == text
