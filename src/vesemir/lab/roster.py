"""The roster: which processes a lab has started, on disk before any of them does anything.

``up`` may be killed at any moment, and ``down`` must then still find everything. So a program is started behind a
gate (a shell that waits for a line, and ends if it never comes), its id and start time are written down, and only
then is the gate opened: the program takes the place of the shell, under the same id. What those programs start
themselves is found as their family, or by the lab's token that their environment carries.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vesemir.lab import proc
from vesemir.lab.accounts import Account
from vesemir.lab.places import LabError

TOKEN = "VESEMIR_LAB_TOKEN"  # noqa: S105 -- a name, and what it names is no secret
"""The variable that marks whatever the lab starts; its value is random for each ``up``."""

FOLDER = "VESEMIR_LAB_FOLDER"
"""The variable that has the lab's folder, by which its programs are found when somebody has deleted it."""

_GATE = 'read -r opened && exec "$@" </dev/null'


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """A process that was started. ``stop`` is the signal that ends it in good order."""

    name: str
    pid: int
    started: int
    stop: str = "SIGTERM"

    @property
    def alive(self) -> bool:
        seen = proc.look(self.pid)
        return seen is not None and seen.started == self.started and not seen.dead


@dataclass(frozen=True, slots=True)
class RosterProgram:
    """A program to start: its words, its whole environment, and where its output goes."""

    name: str
    argv: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    cwd: Path = Path("/")
    stop: str = "SIGTERM"


class Roster:
    """What one ``up`` started, kept in ``processes.json``."""

    def __init__(
        self, file: Path, *, token: str, boot: str, owner: RosterEntry | None, entries: Sequence[RosterEntry] = ()
    ) -> None:
        self.file = file
        self.token = token
        self.boot = boot
        self.owner = owner
        """The ``up`` itself while it starts the lab or stays in the foreground."""
        self.entries = list(entries)
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def new(cls, file: Path, *, token: str) -> "Roster":
        """An empty roster owned by this process, already on disk."""
        own = proc.look(os.getpid())
        assert own is not None  # noqa: S101 -- this very process is there
        roster = cls(file, token=token, boot=proc.boot_id(), owner=RosterEntry("up", own.pid, own.started))
        roster.save()
        return roster

    @classmethod
    def read(cls, file: Path) -> "Roster | None":
        """The roster on disk, or None if no lab was started here."""
        try:
            stored = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise LabError(f"{file} cannot be read ({error}); end the lab's programs by hand and remove it") from error
        owner = stored["owner"]
        return cls(
            file,
            token=stored["token"],
            boot=stored["boot"],
            owner=None if owner is None else RosterEntry(**owner),
            entries=[RosterEntry(**entry) for entry in stored["entries"]],
        )

    @classmethod
    def orphaned(cls, file: Path) -> "Roster | None":
        """Of the programs that run on although the folder, and the roster in it, are gone."""
        for pid in proc.everyone():
            own = proc.environment(pid)
            if own.get(FOLDER) == str(file.parent) and (token := own.get(TOKEN)):
                return cls(file, token=token, boot=proc.boot_id(), owner=None)
        return None

    def save(self) -> None:
        """Written whole under another name and renamed, so that a reader never meets half of it."""
        text = json.dumps(
            {
                "token": self.token,
                "boot": self.boot,
                "owner": None if self.owner is None else asdict(self.owner),
                "entries": [asdict(entry) for entry in self.entries],
            },
            indent=1,
        )
        beside = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as out:  # noqa: PTH123
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        beside.rename(self.file)

    def disown(self) -> None:
        """``up`` returns and leaves its lab to itself."""
        self.owner = None
        self.save()

    @property
    def of_this_boot(self) -> bool:
        """After a reboot nothing of it runs, whatever the ids say."""
        return self.boot == proc.boot_id()

    @property
    def missing(self) -> list[RosterEntry]:
        """Entries that should run and do not."""
        return [entry for entry in self.entries if not (self.of_this_boot and entry.alive)]

    def start(self, programs: Sequence[RosterProgram]) -> list[subprocess.Popen[bytes]]:
        """Start all of ``programs``, recorded before the first of them runs."""
        gated = [self._gated(program) for program in programs]
        for program, child in zip(programs, gated, strict=True):
            seen = proc.look(child.pid)
            if seen is None:
                raise LabError(f"{program.name} ended before it began; see {program.log}")
            self.entries.append(RosterEntry(program.name, child.pid, seen.started, program.stop))
        self.save()
        for child in gated:
            assert child.stdin is not None  # noqa: S101 -- a pipe, see _gated
            child.stdin.write(b"go\n")
            child.stdin.close()
        self._children.extend(gated)
        return gated

    def collect(self) -> None:
        """Take note of children that have ended, so that no zombie of ours is left."""
        self._children = [child for child in self._children if child.poll() is None]

    def _gated(self, program: RosterProgram) -> subprocess.Popen[bytes]:
        account = program.account
        with program.log.open("ab") as log:
            return subprocess.Popen(
                ["/bin/sh", "-c", _GATE, "sh", *program.argv],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                bufsize=0,
                env={**program.environment, TOKEN: self.token, FOLDER: str(self.file.parent)},
                cwd=program.cwd,
                start_new_session=True,
                close_fds=True,
                umask=0o022,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else account.groups,
            )

    async def run(self, program: RosterProgram, *, timeout: float) -> None:
        """Run ``program`` to its end, recorded while it runs; ``timeout`` is in seconds.

        Raises ``LabError`` with the end of its output when it fails.
        """
        (child,) = self.start([program])
        try:
            async with asyncio.timeout(timeout):
                status = await exit_status(child)
        except TimeoutError:
            raise LabError(f"{program.name} did not end within {timeout:.0f} s; see {program.log}") from None
        if status != 0:
            raise LabError(f"{program.name} failed with exit status {status}:\n{tail(program.log)}")
        self.entries = [entry for entry in self.entries if entry.pid != child.pid]
        self.save()


async def exit_status(child: subprocess.Popen[bytes]) -> int:
    """Wait for the end of ``child`` by its pidfd (pidfd_open(2)), which becomes readable then."""
    if child.poll() is not None:
        return child.returncode
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(child.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return child.wait()


def tail(log: Path, *, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"({log}: {error.strerror})"
    return "\n".join(text.splitlines()[-lines:]) or f"({log} is empty)"
