"""A deployment's state in words. A dry run never says what only a deployment can: it would succeed, it did not."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vesemir.cli.output import STYLES, text
from vesemir.engine.ports.views import DeploymentSummary

if TYPE_CHECKING:
    from rich.text import Text

_REHEARSED: Mapping[str, str] = {"succeeded": "would succeed", "failed": "would fail"}


def state_words(state: str, *, dry_run: bool) -> str:
    """``timed out``, ``dry run: would succeed``, ``dry run: timed out``."""
    plain = state.replace("_", " ")
    return f"dry run: {_REHEARSED.get(state, plain)}" if dry_run else plain


def state_text(deployment: DeploymentSummary) -> "Text":
    """The same with a colour, for a deployment of the record."""
    return text(state_words(deployment.state, dry_run=deployment.dry_run), STYLES.get(deployment.state, ""))


def status_words(finished: Mapping[str, Any], *, dry_run: bool = False) -> str:
    """The same of the body of a ``deployment.finished``: one with a ``plan`` is of a dry run. One that failed before it
    knew its targets has none: ``dry_run`` is what else is known of it."""
    return state_words(finished["status"], dry_run=dry_run or finished.get("plan") is not None)
