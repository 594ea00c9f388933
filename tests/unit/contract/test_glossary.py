"""docs/glossary.md: one word for one thing, and every word of the contract is among them."""

import re
from itertools import chain
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"


def rows(text: str) -> list[list[str]]:
    """The cells of every table, without its head."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    lines = chain.from_iterable(table.splitlines()[2:] for table in tables)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


GLOSSARY = rows((DOCS / "glossary.md").read_text(encoding="utf-8"))
WORDS = [word for row in GLOSSARY for word in row[0].split(", ")]


def test_every_word_of_the_contract_is_in_it() -> None:
    page = (DOCS / "contract.md").read_text(encoding="utf-8").partition("## 1. Vocabulary")[2].partition("\n## ")[0]
    terms = [term for row in rows(page) for term in row[0].split(" / ")]
    assert len(terms) > 15
    assert [term for term in terms if term not in WORDS] == []


def test_a_word_stands_once_and_says_what_it_must_not_be_called() -> None:
    assert len(WORDS) == len(set(WORDS))
    for word, meaning, others in GLOSSARY:
        assert meaning, word
        assert others, word
