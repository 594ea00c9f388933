"""The answer to a control message, as the commands that send one wait for it and show it."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from vesemir.cli.complaint import NOT_DONE, ProblemsError
from vesemir.cli.control_order import ControlOrder
from vesemir.cli.output import print_json
from vesemir.cli.results import rejection_lines

Timeout = Annotated[float, typer.Option("--timeout", metavar="S", min=0.1, help="How long to wait for the answer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for programs.")]


def accepted_answer(order: ControlOrder, *, timeout: float, as_json: bool) -> Mapping[str, Any]:
    """Send it and wait; what a person is told of it is the caller's.

    Raises ``ProblemsError`` where it is refused, and ``typer.Exit`` after the answer was printed as JSON.
    """
    answer = asyncio.run(order.answered(timeout=timeout))
    accepted = answer["event"] == "control.accepted"
    if as_json:
        print_json(answer)
        raise typer.Exit(0 if accepted else NOT_DONE)
    if not accepted:
        raise ProblemsError(rejection_lines(answer))
    return answer
