"""What the documents say exists: links lead to files, named scripts and tox environments are there."""

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
ANCHOR = re.compile(r'<a id="([^"]+)"')


def anchors_of(text: str) -> set[str]:
    """As GitHub makes them of headings, and those that are written out."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(ANCHOR.findall(text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_what_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{document.name}: {link}"
        if anchor:
            assert anchor in anchors_of(target.read_text(encoding="utf-8")), f"{document.name}: {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_that_are_named_exist(document: Path) -> None:
    for name in re.findall(r"\bscript/[a-z0-9-]+", document.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), f"{document.name} names {name}"


def test_tox_environments_that_are_named_exist() -> None:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    known = {name.removeprefix("testenv:") for name in tox.sections()}
    assert set(re.split(r",\s*", tox["tox"]["env_list"])) == known - {"tox", "testenv"}
    for document in DOCUMENTS:
        if document.name == "contract.md":
            continue
        for name in re.findall(r"\btox -e ([a-z0-9-]+)", document.read_text(encoding="utf-8")):
            assert name in known, f"{document.name} names tox -e {name}"


def test_documents_name_no_place_of_one_machine() -> None:
    for document in DOCUMENTS:
        assert not re.search(r"/work/|/root/|/tmp/w\b", document.read_text(encoding="utf-8")), document.name


def test_decisions_are_numbered_without_gaps() -> None:
    """Two that were written at the same time do not get the same number unnoticed."""
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    numbers = [int(found[1]) for heading in headings if (found := re.match(r"(\d+)\. \S", heading))]
    assert len(headings) > 10
    assert numbers == list(range(1, len(headings) + 1))
    assert not re.search(r"^\*\*", text, re.MULTILINE), "a decision begins with a heading: ## NUMBER. What was decided"


def test_what_shows_a_promise_of_security_exists() -> None:
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    model = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## Threat model")[2]
    named = set(re.findall(r"\btest_\w+\.py\b", model))
    assert len(named) > 20
    assert named <= files
    rows = [
        line
        for line in model.splitlines()
        if line.startswith("| ") and not line.startswith(("| who", "| what f", "| ---"))
    ]
    assert all("test_" in row.rpartition(" | ")[2] or "tox -e" in row for row in rows)
