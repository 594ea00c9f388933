"""Who runs what. RabbitMQ and PostgreSQL refuse root, so root's lab runs them under their packages' own accounts."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vesemir.lab.places import LabError, Places

_REFUSING_SHELLS = {"nologin", "false"}


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the machine, with all its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def named(cls, name: str) -> "Account":
        """The account of that name; raises ``LabError`` if the machine has none."""
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            raise LabError(
                f"there is no account {name!r} on this machine; install its server: script/bootstrap"
            ) from None
        return cls(name, found.pw_uid, found.pw_gid, tuple(os.getgrouplist(name, found.pw_gid)))

    def reaches(self, folder: Path) -> bool:
        """Whether this account may pass through to ``folder``, asked of the kernel by trying it."""
        tried = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1" && cd -- "$1/.."', "sh", str(folder)],
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return tried.returncode == 0


def login_user() -> str:
    """Who logs in to the boxes: the user that starts the lab. An unprivileged sshd lets nobody else in.

    Raises ``LabError`` for a user without a name or a shell: sshd runs every command with the login shell.
    """
    try:
        found = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise LabError(
            f"the user id {os.geteuid()} has no entry in the password database, and sshd logs nobody in without one; "
            "start the lab as a named user"
        ) from None
    shell = Path(found.pw_shell or "/bin/sh")
    if shell.name in _REFUSING_SHELLS or not os.access(shell, os.X_OK):
        raise LabError(
            f"the login shell of {found.pw_name} is {shell}, so sshd can run nothing as this user; "
            "start the lab as a user with a shell (usermod --shell /bin/sh)"
        )
    return found.pw_name


def server_account(name: str) -> Account | None:
    """The account for a server that refuses root: its own when root starts the lab, else nobody else's (None)."""
    return Account.named(name) if os.geteuid() == 0 else None


def server_home(places: Places, name: str, account: Account | None) -> Path:
    """The folder for a server's files, owned by ``account`` and reachable by it.

    If it cannot get into the lab's folder the files lie in the spare one, and a symlink in the lab's leads there.
    """
    home = places.within(name)
    if account is None:
        home.chmod(0o700)
        return home
    if not account.reaches(home):
        elsewhere = places.make_spare() / name
        elsewhere.mkdir(exist_ok=True)
        home.rmdir()
        home.symlink_to(elsewhere)
        home = elsewhere
    os.chown(home, account.uid, account.gid)
    home.chmod(0o700)
    return home


def give(paths: list[Path], account: Account | None) -> None:
    """Make ``account`` the owner of ``paths``; with None they stay with the user who starts the lab."""
    if account is not None:
        for path in paths:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
