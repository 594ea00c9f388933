"""A release of the lab that starts on every box but some."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote, urlsplit

VERSION = "4.0.0+picky~1:2-x"
"""Its name has every character that a version may have."""


def path_of(artifact: Mapping[str, str]) -> Path:
    """Where a ``file://`` artifact lies."""
    return Path(unquote(urlsplit(artifact["url"]).path))


def picky(model: Mapping[str, str], folder: Path, refusing: Sequence[str]) -> dict[str, str]:
    """``model`` under another version, in ``folder``, with a start program that ends at once on ``refusing``."""
    refuse = f'\ncase "$BOX_NAME" in {"|".join(refusing)}) exit 1 ;; esac\n'.encode()
    changed = {"VERSION": lambda _: f"{VERSION}\n".encode(), "run": lambda text: text.replace(b"\n", refuse, 1)}
    archive = folder / "picky.tar.gz"
    with tarfile.open(path_of(model)) as source, tarfile.open(archive, "w:gz") as made:
        for member in source:
            content = source.extractfile(member)
            assert content is not None, f"{member.name} is a file"
            text = changed.get(member.name.removeprefix("./"), bytes)(content.read())
            member.size = len(text)
            made.addfile(member, io.BytesIO(text))
    return {"version": VERSION, "url": archive.as_uri(), "sha256": sha256(archive.read_bytes()).hexdigest()}
