"""The documents for a successor name what is in the tree: files by their paths, and the engine's rooms."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "src" / "vesemir"
ENGINE = PACKAGE / "engine"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FOLDERS = sorted(
    path.name for path in chain(ROOT.iterdir(), PACKAGE.iterdir()) if path.is_dir() and path.name[0] != "."
)
NAMED = re.compile(rf"`((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_with_a_path_exist(document: Path) -> None:
    """From the checkout or from the package; a ``*`` stands for any name."""
    for name in NAMED.findall(document.read_text(encoding="utf-8")):
        found = any(next(folder.glob(name.rstrip("/")), None) for folder in (ROOT, PACKAGE))
        assert found, f"{document.name} names {name}, which is not there"


def rooms_of_the_map() -> dict[str, tuple[set[str], set[str]]]:
    """Room: (what it may import, its files), as the table of docs/architecture.md has them."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## The engine's rooms")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    return {room.strip("`"): (ticked(imports), ticked(files)) for room, _tells, imports, files in lines}


def ticked(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_every_module_of_the_engine_is_on_the_map() -> None:
    tree = {
        path.stem: {file.stem for file in path.glob("*.py")} - {"__init__"}
        for path in ENGINE.iterdir()
        if path.name[0] != "_"
    }
    assert {room: files for room, (_imports, files) in rooms_of_the_map().items()} == tree


def test_the_map_allows_the_imports_that_the_linter_allows() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["vesemir.engine"]]
    rows = [re.split(r"\s*[|:]\s*", layer) for layer in layers]
    allowed = {room: set(chain(*rows[number + 1 :])) for number, row in enumerate(rows) for room in row}
    assert {room: imports for room, (imports, _files) in rooms_of_the_map().items()} == allowed
