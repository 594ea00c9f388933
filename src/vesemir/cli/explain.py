"""``vesemir explain``: an entry of the runbook, from the copy that came with this version."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from vesemir.cli.complaint import ProblemsError
from vesemir.cli.output import console, print_json, show, table
from vesemir.cli.prose import lines_of
from vesemir.shipped import runbook_file

_ENTRY = re.compile(r'^<a id="(?P<anchor>[A-Za-z0-9-]+)"></a>[ \t]*\n##+ (?P<title>[^\n]+)\n', re.MULTILINE)
_NEXT = re.compile(r"^(<a id=|##? )", re.MULTILINE)
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
"""Commands: a comment among them is no heading."""
_MEANING = re.compile(r"\*\*Meaning\.\*\*\s+(.+?\.)(?=\s|$)", re.DOTALL)
_WIDEST = 100
"""Columns: longer lines are hard to read."""


@dataclass(frozen=True, slots=True)
class RunbookEntry:
    """One entry of the runbook. ``title`` is the failure code (or the alert, or what the section is about)."""

    anchor: str
    title: str
    markdown: str

    @property
    def summary(self) -> str:
        """The first sentence of its meaning; empty for a section that has none."""
        found = _MEANING.search(self.markdown)
        return " ".join(found[1].replace("**", "").replace("*", "").replace("`", "").split()) if found else ""


def explain_command(
    code: Annotated[
        str | None,
        typer.Argument(metavar="[CODE]", help="A failure code, step.failed for instance; none: all of them."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Print the runbook's entry of a failure code or alert: meaning, how to tell, how to mend, whom to call.

    Without a code: the list of all entries. first-look is where to begin, and how a drained server gets its traffic.
    """
    entries = list(entries_of(_runbook()))
    if code is None:
        _list(entries, as_json=as_json)
        return
    entry = find(code, entries)
    if as_json:
        print_json(_json(entry) | {"entry": entry.markdown})
    else:
        show(*lines_of(entry.markdown, width=min(console().width, _WIDEST)))


def _list(entries: Sequence[RunbookEntry], *, as_json: bool) -> None:
    if as_json:
        print_json([_json(entry) for entry in entries])
        return
    shown = table("code", "meaning", rows=[(entry.title, entry.summary) for entry in entries if entry.summary])
    shown.columns[0].no_wrap = True
    show(shown)


def _json(entry: RunbookEntry) -> dict[str, str]:
    return {"code": entry.title, "runbook": f"docs/runbook.md#{entry.anchor}", "summary": entry.summary}


def entries_of(runbook: str) -> Iterator[RunbookEntry]:
    """Each from its heading to the next anchor or section."""
    headings = _BLOCK.sub(lambda block: block[0].replace("#", " "), runbook)
    for found in _ENTRY.finditer(runbook):
        following = _NEXT.search(headings, found.end())
        end = following.start() if following else len(runbook)
        heading = found[0].partition("\n")[2]
        yield RunbookEntry(found["anchor"], found["title"].strip(), (heading + runbook[found.end() : end]).strip())


def find(given: str, entries: Sequence[RunbookEntry]) -> RunbookEntry:
    """Also by the anchor (``#step-failed``), which is what an event carries. Raises ``ProblemsError``."""
    wanted = given.strip().lower().rpartition("#")[2]
    for entry in entries:
        if wanted in {entry.title.lower(), entry.anchor.lower()}:
            return entry
    raise ProblemsError([f"{given} is no failure code; {_hint(wanted, [entry.title for entry in entries])}"])


def _hint(wanted: str, known: Sequence[str]) -> str:
    """What it may have meant: mistyped, or only a part of it."""
    lower = {title.lower(): title for title in known}
    close = [*difflib.get_close_matches(wanted, lower, n=3), *(title for title in lower if wanted and wanted in title)]
    named = [lower[title] for title in dict.fromkeys(close)][:5]
    return f"did you mean {' or '.join(named)}?" if named else "`vesemir explain` lists them"


def _runbook() -> str:
    file = runbook_file()
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ProblemsError([f"the runbook {file} cannot be read: {error.strerror}; install vesemir again"]) from error
