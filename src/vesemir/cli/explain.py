"""``vesemir explain``: the runbook's entry of a failure code, from the copy that came with this version."""

import difflib
import re
from typing import Annotated

import typer

from vesemir.cli.complaint import ProblemsError
from vesemir.cli.output import print_json, printable
from vesemir.domain.failure import FailureCode
from vesemir.shipped import runbook_file

_ANCHOR = re.compile(r'^<a id="([a-z0-9-]+)"></a>[ \t]*$', re.MULTILINE)


def explain_command(
    code: Annotated[str, typer.Argument(metavar="CODE", help="A failure code, step.failed for instance.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Print the runbook's entry of a failure code: what it means, how to tell, how to mend, who to call."""
    found = _code(code)
    entry = entry_of(found, _runbook())
    if as_json:
        print_json({"code": found.value, "runbook": f"docs/runbook.md{found.runbook}", "entry": entry})
    else:
        print(printable(entry))


def entry_of(code: FailureCode, runbook: str) -> str:
    """The text between this code's anchor and the next one. Raises ``ProblemsError`` if there is none."""
    anchors = list(_ANCHOR.finditer(runbook))
    for index, anchor in enumerate(anchors):
        if f"#{anchor[1]}" == code.runbook:
            end = anchors[index + 1].start() if index + 1 < len(anchors) else len(runbook)
            return runbook[anchor.end() : end].strip()
    raise ProblemsError([f"the runbook has no entry for {code.value}; please report that"])


def _code(given: str) -> FailureCode:
    """Also as the runbook's anchor (``#step-failed``), which is what an event carries."""
    wanted = given.strip().lower().removeprefix("docs/runbook.md").removeprefix("#")
    for code in FailureCode:
        if wanted in {code.value, code.runbook.removeprefix("#")}:
            return code
    known = [code.value for code in FailureCode]
    close = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
    raise ProblemsError([f"{given} is no failure code; {hint}"])


def _runbook() -> str:
    file = runbook_file()
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ProblemsError([f"the runbook {file} cannot be read: {error.strerror}; install vesemir again"]) from error
