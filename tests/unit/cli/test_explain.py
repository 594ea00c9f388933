"""The runbook on a terminal: entries found by code, anchor or alert, commands left whole."""

import json

import pytest
from typer.testing import CliRunner

from vesemir.cli.explain import RunbookEntry, entries_of, find
from vesemir.cli.program import app
from vesemir.cli.prose import lines_of
from vesemir.domain.failure import FailureCode, VesemirError
from vesemir.shipped import runbook_file

RUNBOOK = runbook_file().read_text(encoding="utf-8")
ENTRIES = list(entries_of(RUNBOOK))


@pytest.mark.parametrize("code", list(FailureCode))
def test_every_code_is_found_and_has_a_summary(code: FailureCode) -> None:
    for written in (code.value, code.runbook, f"docs/runbook.md{code.runbook}", code.value.upper()):
        entry = find(written, ENTRIES)
        assert entry.title == code.value
        assert entry.summary.endswith(".")
        assert "<a id" not in entry.markdown


def test_where_to_begin_is_an_entry_too() -> None:
    assert "vesemir status ID" in find("first-look", ENTRIES).markdown
    assert "set server BACKEND/SERVER state ready" in find("first-look", ENTRIES).markdown, "a comment is no heading"
    assert "Who is meant" not in find("first-look", ENTRIES).markdown


@pytest.mark.parametrize(
    ("typed", "hint"), [("step.faild", "step.failed"), ("haproxy", "haproxy.not_up"), ("", "lists")]
)
def test_what_is_no_code_is_told_what_it_may_have_meant(typed: str, hint: str) -> None:
    with pytest.raises(VesemirError, match="is no failure code") as told:
        find(typed, ENTRIES)
    assert hint in str(told.value)


def test_lines_are_broken_between_words_and_commands_are_not() -> None:
    markdown = (
        "## step.failed\n\n**Meaning.** " + "word " * 30 + "\n\n- one `a`\n- two\n\n```sh\n" + "x" * 90 + "\n```\n"
    )
    lines = [line.plain for line in lines_of(markdown, width=40)]
    assert lines[0] == "step.failed"
    assert lines[2].startswith("Meaning. word")
    assert "- one a" in lines
    assert f"    {'x' * 90}" in lines
    assert all(len(line) <= 40 for line in lines if "x" not in line)


def test_an_entry_ends_where_the_next_begins() -> None:
    text = '<a id="a"></a>\n## a.b\n\n**Meaning.** One. Two.\n\n# Alerts\n\n<a id="c"></a>\n### Down\n\nthree\n'
    assert [(entry.title, entry.markdown, entry.summary) for entry in entries_of(text)] == [
        ("a.b", "## a.b\n\n**Meaning.** One. Two.", "One."),
        ("Down", "### Down\n\nthree", ""),
    ]
    assert RunbookEntry("a", "a.b", "").summary == ""


def test_for_programs() -> None:
    told = json.loads(CliRunner().invoke(app, ["explain", "step.failed", "--json"]).stdout)
    assert (told["code"], told["runbook"]) == ("step.failed", "docs/runbook.md#step-failed")
    assert told["entry"].startswith("## step.failed")
    every = json.loads(CliRunner().invoke(app, ["explain", "--json"]).stdout)
    assert {code.value for code in FailureCode} <= {each["code"] for each in every}
