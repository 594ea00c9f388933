"""Migrations only add, so that the previous release lives with the new schema (docs/upgrading.md)."""

import re
from pathlib import Path

import pytest

from vesemir.shipped import sql_folder

FIRST = "0001_record.sql"
MIGRATIONS = sorted((sql_folder() / "migrations").glob("*.sql"))
FORBIDDEN = {
    r"\bDROP\s+(TABLE|COLUMN|SEQUENCE|TYPE)\b": "the previous release still uses it: drop it one release later",
    r"\bRENAME\b": "the previous release knows the old name: add the new one beside it",
    r"\bALTER\s+(COLUMN\s+\w+\s+)(SET\s+DATA\s+)?TYPE\b": "rewrites the table, and the previous release may not fit",
    r"\bSET\s+NOT\s+NULL\b": "the previous release may leave it empty",
    r"\bADD\s+COLUMN\b(?=[^;]*\bNOT\s+NULL\b)(?![^;]*\bDEFAULT\b)": "the previous release does not fill it: a DEFAULT",
    r"\bCONCURRENTLY\b": "migrations run in one transaction, where that is not possible",
    r"\b(BEGIN|COMMIT|ROLLBACK)\s*;": "migrate has one transaction around all of them",
}


def problems(text: str) -> list[str]:
    bare = re.sub(r"--[^\n]*|'[^']*'", "", text)
    return [reason for pattern, reason in FORBIDDEN.items() if re.search(pattern, bare, re.IGNORECASE)]


@pytest.mark.parametrize("file", [path for path in MIGRATIONS if path.name != FIRST], ids=lambda path: path.stem)
def test_a_later_migration_only_adds(file: Path) -> None:
    assert problems(file.read_text(encoding="utf-8")) == []


def test_they_are_numbered_without_gaps() -> None:
    """Two changes that were made at the same time do not get the same number unnoticed."""
    numbers = [int(path.name.partition("_")[0]) for path in MIGRATIONS]
    assert numbers == list(range(1, len(MIGRATIONS) + 1))


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE deployment DROP COLUMN owner;",
        "ALTER TABLE deployment RENAME COLUMN owner TO holder;",
        "alter table step alter column output type bytea;",
        "ALTER TABLE step ALTER COLUMN output SET NOT NULL;",
        "ALTER TABLE step ADD COLUMN size integer NOT NULL;",
        "CREATE INDEX CONCURRENTLY step_by_time ON step (finished_at);",
        "COMMIT;",
    ],
)
def test_what_takes_something_away_is_noticed(statement: str) -> None:
    assert len(problems(f"-- a comment\n{statement}\n")) == 1


def test_a_column_with_a_default_and_words_in_texts_are_fine() -> None:
    assert (
        problems("ALTER TABLE step ADD COLUMN size integer NOT NULL DEFAULT 0;\nCOMMENT ON TABLE step IS 'RENAME';")
        == []
    )
