"""`python -m artifact`: build the tarball of a commit and print where it is, its size and its SHA-256."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from artifact.building import build
from artifact.source import BuildError, export_commit, export_work_tree

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m artifact", description=__doc__)
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="the checkout (default: this one)")
    parser.add_argument("--out", type=Path, help="the folder for it (default: dist in the checkout)")
    parser.add_argument("--commit", default="HEAD", help="what to build (default: HEAD)")
    parser.add_argument("--work-tree", action="store_true", help="build the work tree as it is, to try a change out")
    parser.add_argument("--version", help="a candidate's version, instead of that in pyproject.toml")
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.parse_args()
    repository: Path = asked.repository.resolve()
    out, wheels = asked.out or repository / "dist", repository / "build" / "wheels"
    try:
        with tempfile.TemporaryDirectory(prefix="vesemir-tree-") as folder:
            tree = Path(folder)
            if asked.work_tree:
                epoch = export_work_tree(repository, tree)
            else:
                epoch = export_commit(repository, asked.commit, tree)
            built = build(tree, out, epoch=epoch, wheels=wheels, version=asked.version)
    except BuildError as error:
        print(f"artifact: {error}", file=sys.stderr)
        return 1
    if asked.json:
        print(json.dumps({**asdict(built), "path": str(built.path)}))
    else:
        print(f"{built.path}\nversion  {built.version}\nsize     {built.size} bytes\nsha256   {built.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
