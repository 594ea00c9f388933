"""Where the lab keeps what: one folder that the user names, and, if it must be, one short private folder beside it.

Two things may not fit into the user's folder. The path of a Unix socket has at most 107 bytes (``sun_path`` in
unix(7)), and the accounts that RabbitMQ and PostgreSQL run as when root starts them may be unable to pass through a
parent folder with mode 0700. Both then live in a folder under ``/tmp`` that ``down`` removes.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vesemir.domain.failure import VesemirError

LONGEST_SOCKET_PATH = 97
"""Bytes: ``sun_path`` of unix(7) holds 107, and HAProxy makes its socket under a longer name first (``.PID.tmp``)."""

OURS = (
    "artifacts",
    "boxes",
    "chef",
    "haproxy",
    "keys",
    "log",
    "postgres",
    "programs",
    "rabbitmq",
    "recipes",
    "sockets",
)
"""Folders that the lab makes in the user's folder, and the only ones that it ever removes there."""

_MARK = ".vesemir-lab"
_PLAIN = re.compile(r"[A-Za-z0-9/._+@=:, ~-]+")


class LabError(VesemirError):
    """Something about the lab that its user can mend; the message says how."""


@dataclass(frozen=True, slots=True)
class Places:
    """Every path of one lab. ``spare`` is the private folder outside of it, which need not exist."""

    folder: Path
    spare: Path

    @classmethod
    def of(cls, folder: Path, *, token: str) -> "Places":
        """The lab in ``folder``; ``token`` names its spare folder, which only this run of the lab has."""
        absolute = Path(os.path.abspath(folder))  # noqa: PTH100 -- a symlink in the user's path is to stay as it is
        if not _PLAIN.fullmatch(str(absolute)):
            raise LabError(
                f"the path {str(absolute)!r} holds characters that configuration files of sshd, HAProxy or RabbitMQ "
                "read in their own way; choose a folder whose path has only letters, digits, spaces and /._+@=:,~-"
            )
        return cls(absolute, Path("/tmp") / f"vesemir-lab-{token[:12]}")  # noqa: S108 -- random, made with mkdir(2)

    @property
    def lab_json(self) -> Path:
        return self.folder / "lab.json"

    @property
    def processes(self) -> Path:
        return self.folder / "processes.json"

    @property
    def nodes(self) -> Path:
        """How the nodes of a cluster were started, to start them again."""
        return self.folder / "nodes.json"

    @property
    def settings(self) -> Path:
        return self.folder / "vesemir.toml"

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.toml"

    @property
    def record_key(self) -> Path:
        """What secret parameters are sealed with in the record."""
        return self.folder / "record-key"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def within(self, name: str) -> Path:
        """A folder of the lab's own, one of ``OURS``."""
        assert name in OURS, name  # noqa: S101 -- a slip of ours would be a folder that `down` does not know
        return self.folder / name

    def socket(self, name: str) -> Path:
        """The path for a Unix socket: in the folder if it is short enough there, else in the spare one."""
        inside = self.folder / "sockets" / name
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH:
            return inside
        self.make_spare()
        return self.spare / name

    def make_spare(self) -> Path:
        """The spare folder, made if it is missing. Others may pass through it but not list it."""
        try:
            self.spare.mkdir(mode=0o711)
        except FileExistsError:
            found = self.spare.lstat()
            if found.st_uid != os.geteuid() or self.spare.is_symlink():
                raise LabError(f"{self.spare} belongs to somebody else; remove it and try again") from None
        self.spare.chmod(0o711)
        return self.spare

    def claim(self) -> None:
        """Make the folder the lab's; refuse one whose contents the lab would have to overwrite."""
        self.folder.mkdir(parents=True, exist_ok=True)
        mark = self.folder / _MARK
        if not mark.exists():
            taken = [name for name in OURS if (self.folder / name).exists()]
            if taken:
                raise LabError(
                    f"{self.folder} is not a lab but has {', '.join(taken)} in it, which a lab would overwrite; "
                    "choose another --dir"
                )
            mark.write_text("A lab of Vesemir: `vesemir lab down` ends it, and then this folder may be removed.\n")

    def clear(self) -> None:
        """Remove what an earlier lab left; logs included, since a new lab begins."""
        for name in OURS:
            _remove(self.folder / name)
        for file in (self.lab_json, self.nodes, self.settings, self.inventory, self.record_key):
            file.unlink(missing_ok=True)

    def make(self) -> None:
        """The empty folders of a new lab."""
        for name in OURS:
            path = self.folder / name
            path.mkdir(exist_ok=True)
            path.chmod(0o755)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one ``up`` or ``down`` works in the folder at a time; a second one waits for the first."""
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
