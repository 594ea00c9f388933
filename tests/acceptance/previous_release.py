"""The release before this one, run from its own source: what new schema and messages must get along with."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from artifact.source import BuildError, export_commit, git
from tests.acceptance.installed_lab import own_environment

REPOSITORY = Path(__file__).parents[2]
PINNED = os.environ.get("PREVIOUS_RELEASE", "652b91c")
"""Stands for the previous release until there is a tag. ``tox -e upgrade`` names older ones."""
_KNOWN = (
    "import json; from vesemir.settings import Settings; fields = Settings.model_fields; "
    "print(json.dumps({name: sorted(getattr(fields[name].annotation, 'model_fields', {})) for name in fields}))"
)


def previous_commit() -> str:
    """The last tag below what is checked out, or ``PINNED``."""
    words = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    described = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return described.stdout.strip() or PINNED


def export_previous(folder: Path, commit: str = "") -> dict[str, str]:
    """Unpacks it, or another one; the environment in which the installed command runs its code instead of ours."""
    try:
        export_commit(REPOSITORY, commit or previous_commit(), folder)
    except BuildError as error:
        pytest.fail(f"the previous release is not in this clone ({error}); fetch it: git fetch --unshallow --tags")
    return {"PYTHONPATH": str(folder / "src")}


def its_settings(lab: Mapping[str, str], previous: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The lab's settings as variables, without those that came later: new ones are set when all instances know them."""
    tables = tomllib.loads(Path(lab["VESEMIR_CONFIG"]).read_text())
    words = [sys.executable, "-c", _KNOWN]
    said = subprocess.run(words, env=own_environment(previous), capture_output=True, check=True).stdout
    kept = {
        f"VESEMIR_{table.upper()}__{name.upper()}": value
        for table, known in json.loads(said).items()
        for name, value in tables.get(table, {}).items()
        if name in known
    }
    (folder / "none.toml").touch()
    return {
        "VESEMIR_CONFIG": str(folder / "none.toml"),
        **{name: value if isinstance(value, str) else json.dumps(value) for name, value in kept.items()},
    }


def migrations_of(commit: str) -> set[str]:
    listed = git("ls-tree", "--name-only", commit, "sql/migrations/", cwd=REPOSITORY).decode()
    return {Path(name).name for name in listed.split()}
