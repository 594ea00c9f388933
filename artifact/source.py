"""The tree that an artifact is made of, apart from the checkout: umask, untracked files and edits do not get in."""

import os
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path


class BuildError(Exception):
    """The artifact cannot be built; the text says what to do."""


def git(*words: str, cwd: Path) -> bytes:
    try:
        return subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True).stdout
    except FileNotFoundError:
        raise BuildError("git is not installed; an artifact is built from a commit") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise BuildError(
            f"git {' '.join(words)}: {said}; an artifact is built from a commit of this repository"
        ) from None


def export_commit(repository: Path, commit: str, folder: Path) -> int:
    """What is committed, into ``folder``; returns the commit's time, in seconds since 1970."""
    archive = git("-c", "tar.umask=0022", "archive", "--format=tar", commit, cwd=repository)
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        unpack(tar, folder)
    return commit_time(repository, commit)


def unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """A tar that we made. Debian 12's Python (3.11.2) knows no filters yet, and later ones ask for one."""
    data_filter = getattr(tarfile, "data_filter", None)
    if data_filter is not None:
        tar.extraction_filter = data_filter
    tar.extractall(folder)  # noqa: S202 - our own


def export_work_tree(repository: Path, folder: Path) -> int:
    """What is tracked or could be, as it is in the work tree now: for trying out a change before it is committed."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=repository)
    for name in sorted(set(os.fsdecode(listed).split("\0")) - {""}):
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, folder / name)
    return commit_time(repository, "HEAD")


def commit_time(repository: Path, commit: str) -> int:
    return int(git("show", "--no-patch", "--format=%ct", f"{commit}^{{commit}}", cwd=repository))
