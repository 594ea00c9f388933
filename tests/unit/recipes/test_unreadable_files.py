"""Files that cannot be looked at for a while: no descriptors left, a disk that fails, a network folder that is gone."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.engine.world import Lines

from vesemir.adapters.policy import PolicyFile
from vesemir.adapters.recipes import RecipeBook, RecipeFolder
from vesemir.adapters.reloaded_files import FileWatch, Reading, ReloadedFiles
from vesemir.engine.upkeep.health import HealthRegistry, PartState

STEP = '[[steps]]\nname = "one"\ncommand = ["true"]\n'
FOLDERS = ("scandir", "listdir")
ERRORS = [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOMEM]


class Disk:
    """What the system says of files; ``fails`` with an error number, for paths that have ``within`` in them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error = 0
        self.within = ""
        self.calls: frozenset[str] = frozenset()
        for owner, name in ((os, "scandir"), (os, "listdir"), (os, "stat"), (Path, "read_text"), (Path, "stat")):
            monkeypatch.setattr(owner, name, self._failing(getattr(owner, name), name))

    def fails(self, error: int, *calls: str, within: str = "") -> None:
        self.error, self.calls, self.within = error, frozenset(calls), within

    def works(self) -> None:
        self.error = 0

    def _failing(self, real: Callable[..., object], name: str) -> Callable[..., object]:
        def called(path: object = ".", *args: object, **options: object) -> object:
            if self.error and name in self.calls and self.within in str(path):
                raise OSError(self.error, os.strerror(self.error), str(path))
            return real(path, *args, **options)

        return called


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(monkeypatch)
    yield disk
    disk.works()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "mine.toml").write_text(f"description = 'one'\n{STEP}")
    return folder


@pytest.mark.parametrize("error", ERRORS, ids=os.strerror)
@pytest.mark.parametrize(
    "calls", [("scandir", "listdir"), ("scandir", "listdir", "stat", "read_text")], ids=["dir", "all"]
)
def test_recipes_that_cannot_be_looked_at_stay_in_use(
    disk: Disk, folder: Path, error: int, calls: tuple[str, ...]
) -> None:
    """Before: ``OSError`` out of the watch, which ended the daemon; with EACCES all recipes of the folder were gone."""
    log = Lines()
    book = RecipeBook([RecipeFolder(folder)], log=log)
    disk.fails(error, *calls)
    for _ in range(3):
        book.refresh()
    assert book.names == ("mine",)
    assert os.strerror(error) in book.problem
    assert len(log.of("error")) == 1
    disk.works()
    (folder / "more.toml").write_text(STEP)
    book.refresh()
    assert (book.names, book.problem) == (("mine", "more"), "")


def test_a_change_that_could_not_be_read_is_read_when_it_can_be(disk: Disk, folder: Path) -> None:
    """stat(2) needs no descriptor and open(2) does: the change is seen, and cannot be read yet."""
    log = Lines()
    book = RecipeBook([RecipeFolder(folder)], log=log)
    (folder / "mine.toml").write_text(f"description = 'another'\n{STEP}")
    disk.fails(errno.EMFILE, "read_text")
    for _ in range(3):
        book.refresh()
    recipe = book.get("mine")
    assert recipe is not None
    assert (recipe.description, len(log.of("error"))) == ("one", 1)
    assert "Too many open files" in book.problem
    disk.works()
    book.refresh()
    recipe = book.get("mine")
    assert recipe is not None
    assert (recipe.description, book.problem) == ("another", "")


def test_one_folder_that_cannot_be_looked_at_holds_up_no_other(disk: Disk, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    book = RecipeBook([RecipeFolder(folder), RecipeFolder(other)])
    disk.fails(errno.ESTALE, "scandir", "listdir", "stat", within=str(folder))
    (other / "new.toml").write_text(STEP)
    book.refresh()
    assert book.names == ("mine", "new")
    assert "Stale file handle" in book.problem


def test_a_policy_that_cannot_be_read_for_a_while_stays_in_force(disk: Disk, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('otherwise = "refuse"\n')
    log = Lines()
    policies = PolicyFile(file, log=log)
    assert not policies.current.allow_otherwise
    file.write_text('otherwise = "allow"\n[[allow]]\nname = "all"\n')
    disk.fails(errno.EMFILE, "read_text")
    for _ in range(3):
        policies.refresh()
    assert not policies.current.allow_otherwise
    assert "Too many open files" in policies.problem
    assert len(log.of("error")) == 1
    disk.works()
    policies.refresh()
    assert (policies.current.allow_otherwise, policies.problem) == (True, "")


class Reports(HealthRegistry):
    """A registry; ``states`` has everything that was reported."""

    def __init__(self) -> None:
        super().__init__()
        self.states: asyncio.Queue[PartState] = asyncio.Queue()

    def report(self, name: str, state: PartState, detail: str = "") -> None:
        super().report(name, state, detail)
        self.states.put_nowait(state)


class Counted:
    """The book, which counts the looks; the third cannot even begin."""

    def __init__(self, book: RecipeBook) -> None:
        self._book = book
        self._looks = 0

    @property
    def problem(self) -> str:
        return self._book.problem

    def refresh(self) -> None:
        self._looks += 1
        if self._looks == 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self._book.refresh()


async def test_the_watch_goes_on_says_it_once_and_shows_it(disk: Disk, folder: Path) -> None:
    log, health = Lines(), Reports()
    book = RecipeBook([RecipeFolder(folder)], log=log)
    disk.fails(errno.EMFILE, "scandir", "listdir")
    watch = asyncio.create_task(FileWatch({"recipes": Counted(book)}, health, log=log, every=0).run())
    async with asyncio.timeout(5):
        for _ in range(10):
            assert await health.states.get() is PartState.DOWN
        assert 1 <= len([text for text in log.of("error") if "Too many open files" in text]) <= 2
        disk.works()
        while await health.states.get() is not PartState.UP:
            pass
    watch.cancel()


def test_files_that_cannot_be_looked_at_at_the_start_are_a_problem_and_no_crash() -> None:
    broken = True

    def look() -> int:
        if broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return 1

    files = ReloadedFiles(look, lambda _before: Reading("read"))
    assert (files.current, "Input/output error" in files.problem) == ("read", True)
    broken = False
    files.refresh()
    assert files.problem == ""
