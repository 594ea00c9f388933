"""Writes docs/states.md from the tables in vesemir.domain.states: ``python docs/make_states.py``."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from vesemir.domain.states import DEPLOYMENT_TRANSITIONS, REGRESSION, TARGET_TRANSITIONS

PAGE = Path(__file__).with_name("states.md")

HEAD = """# States

Made by `python docs/make_states.py` from the tables in `src/vesemir/domain/states.py`; a test keeps them equal. An
illegal transition raises and changes nothing, and every write to the database names the state that it expects.

Who owns a deployment is not a state: a lease that is handed back or has expired leaves the state as it is, so that a
pause and a rollback survive the instance. A target that was in work then becomes `unknown` until the next owner has
asked the host how it stands; `unknown` is final only when that was impossible to the end.
"""


def diagram(transitions: Mapping[StrEnum, Iterable[StrEnum]]) -> str:
    """A mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending"]
    for old, ways in transitions.items():
        lines += [f"    {old} --> {new}" for new in sorted(ways)] or [f"    {old} --> [*]"]
    return "\n".join([*lines, "```"])


def page() -> str:
    """The whole of docs/states.md."""
    parts = [HEAD, "## A deployment\n", diagram(DEPLOYMENT_TRANSITIONS), "\n## A target\n"]
    before, after = REGRESSION
    text = f"""Once forward and, in a rollback, once back. One move is not in the table: a target that `{before}` on the
way forward, and is not well when it is looked at again, becomes `{after}` (`target.regressed`,
[traffic.md](traffic.md)). It was finished and stays so.
"""
    return "\n".join([*parts, text, diagram(TARGET_TRANSITIONS)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
