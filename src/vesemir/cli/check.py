"""``vesemir check``: can this installation work?"""

from dataclasses import asdict
from typing import Annotated

import typer

from vesemir.cli.checks import findings
from vesemir.cli.complaint import NOT_DONE
from vesemir.cli.output import STYLES, print_json, show, text


def check_command(
    before_start: Annotated[
        bool, typer.Option("--before-start", help="Before instances are started: that none consumes is only a warning.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Check settings, recipes, broker, database, inventory, keys and jump hosts: a line each, ok or FAIL.

    Ends at the first of them that has something wrong, with all that is wrong with it, and exit status 1. That no
    instance consumes is wrong once one has run. Jump hosts are logged in to; no target is. Nothing is changed but a row
    of the record that is there to be written.
    """
    found = []
    for finding in findings(before_start=before_start):
        found.append(finding)
        if not as_json:
            word = "FAIL" if not finding.ok else "warn" if finding.warning else "ok"
            style = "" if word == "ok" else STYLES[word]
            show(text(f"{word:<4}  {finding.part:<9}  {finding.detail}", style))
    if as_json:
        print_json([asdict(finding) for finding in found])
    raise typer.Exit(0 if all(finding.ok for finding in found) else NOT_DONE)
