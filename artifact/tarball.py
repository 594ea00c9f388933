"""A tar.gz whose bytes follow from its content alone: sorted entries, root's, two modes, one time."""

import gzip
import hashlib
import tarfile
from pathlib import Path

PROGRAM, FILE = 0o755, 0o644


def write(folder: Path, target: Path, *, epoch: int) -> None:
    """``target`` holds ``folder`` under its own name. ``epoch`` is every entry's time, in seconds since 1970."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in [folder, *sorted(folder.rglob("*"))]:
            entry = tar.gettarinfo(path, arcname=str(path.relative_to(folder.parent)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            entry.mtime = epoch
            if entry.isdir():
                entry.mode = PROGRAM
                tar.addfile(entry)
            else:
                entry.mode = PROGRAM if path.name == "install" else FILE
                with path.open("rb") as content:
                    tar.addfile(entry, content)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums(folder: Path) -> str:
    """As ``sha256sum`` writes them, and ``sha256sum --check`` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256(path)}  {path.relative_to(folder)}\n" for path in files)
