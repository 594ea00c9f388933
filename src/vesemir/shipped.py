"""Files that come with the program: SQL and recipes, inside the wheel or, in a checkout, beside the source."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent


def _find(packaged: str, in_checkout: str) -> Path:
    inside = _PACKAGE / "_shipped" / packaged
    return inside if inside.is_dir() else _CHECKOUT / in_checkout


def sql_folder() -> Path:
    """``migrations/`` and ``queries/``."""
    return _find("sql", "sql")


def recipes_folder() -> Path:
    """The shipped recipes, one ``*.toml`` each."""
    return _find("recipes", "config/recipes")


def runbook_file() -> Path:
    """``docs/runbook.md``, which has an entry for every failure code."""
    inside = _PACKAGE / "_shipped" / "docs" / "runbook.md"
    return inside if inside.is_file() else _CHECKOUT / "docs" / "runbook.md"
