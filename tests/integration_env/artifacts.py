"""The artifacts of a run: the candidate, the version before it, and one whose ``run`` crashes at start."""

import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from artifact.building import build
from artifact.source import export_work_tree
from artifact.tarball import sha256

REPOSITORY = Path(__file__).resolve().parents[2]
BEFORE = "0.0.1"
"""What the candidate is upgraded from, if nobody names an artifact: the same commit under an older version."""
CRASHING = "99.0.0"
_CRASH = '''"""A version that does not start, to see what becomes of a deployment of it."""


def run_command() -> None:
    """Crash."""
    raise RuntimeError("this version does not start")
'''


@dataclass(frozen=True, slots=True)
class Artifact:
    path: Path
    version: str

    @classmethod
    def at(cls, path: Path) -> "Artifact":
        """Raises ``SystemExit`` for a file that is none."""
        try:
            with tarfile.open(path) as tar:
                name = tar.getnames()[0].split("/")[0]
        except (OSError, tarfile.TarError, IndexError) as error:
            raise SystemExit(f"{path} is no artifact: {error}") from error
        return cls(path, name.removeprefix("vesemir-"))

    @property
    def sha256(self) -> str:
        return sha256(self.path)


def build_commit(out: Path, version: str | None) -> Artifact:
    words = [sys.executable, "-m", "artifact", "--out", str(out), *(["--version", version] if version else [])]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the artifact cannot be built:\n{done.stderr}")
    return Artifact.at(Path(done.stdout.splitlines()[0]))


def build_crashing(out: Path) -> Artifact:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        epoch = export_work_tree(REPOSITORY, tree)
        (tree / "src" / "vesemir" / "cli" / "run.py").write_text(_CRASH)
        wheels = REPOSITORY / "build" / "wheels"
        return Artifact.at(build(tree, out, epoch=epoch, wheels=wheels, version=CRASHING).path)
