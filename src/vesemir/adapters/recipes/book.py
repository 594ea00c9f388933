"""The folders of recipes: read at the start, and again when a file changes, comes or goes.

A later folder's recipe wins over an earlier one of the same name; that its folder does not announce it is told once,
since a team's folder could so replace ``release`` for everybody. A file that is broken when it is first seen takes
its name away, rather than letting an earlier folder's recipe pass for it; one that breaks later keeps its last good
version.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vesemir.adapters.recipes.recipe_file import RecipeFileError, RecipeProblem, read_recipe, recipe_of
from vesemir.adapters.reloaded_files import Reading, ReloadedFiles, Stamp, stamp_of
from vesemir.domain.recipe import Recipe
from vesemir.engine.ports.observe import Log, SilentLog
from vesemir.settings import RecipeFolderSettings, RecipesSettings
from vesemir.shipped import recipes_folder

_NO_FOLDER = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True, slots=True)
class RecipeFolder:
    """``sudo`` is whether its recipes may have steps that use it, ``override`` which recipes of earlier folders it may
    replace (None: any), ``prefix`` what the names of its own begin with."""

    path: Path
    sudo: bool = True
    override: frozenset[str] | None = frozenset()
    prefix: str = ""

    def files(self) -> list[Path]:
        """Its recipes, those with names that it must not have left out."""
        return [path for path in self.all_files() if path.stem.startswith(self.prefix)]

    def misnamed(self) -> list[RecipeProblem]:
        """Such a file must not replace a recipe of another folder."""
        reason = f"its name must begin with {self.prefix} (prefix of its folder in recipes.folders)"
        wrong = (path for path in self.all_files() if not path.stem.startswith(self.prefix))
        return [RecipeProblem(path, None, reason) for path in wrong]

    def all_files(self) -> list[Path]:
        """Raises ``OSError``; pathlib's glob hides some of them, and a folder that may not be read would look empty."""
        return sorted(path for path in self.path.iterdir() if path.name.endswith(".toml"))


@dataclass(frozen=True, slots=True)
class RecipePlace:
    """Where a recipe comes from, and which files of earlier folders it ``hides``."""

    name: str
    file: Path
    hides: tuple[Path, ...] = ()
    announced: bool = True

    @property
    def warning(self) -> str:
        """What is wrong with it; "" when nothing is."""
        if self.announced:
            return ""
        table = f'{{ path = "{self.file.parent}", override = ["{self.name}"] }}'
        return (
            f"{self.file} replaces {self.hides[-1]} and does not announce it: write {table} in recipes.folders, or "
            "give it another name; from 1.0 on it is an error"
        )


@dataclass(frozen=True, slots=True)
class _File:
    """``recipe`` is its last good version, None if there was none. Not ``is_read``: the system did not let us."""

    stamp: Stamp
    recipe: Recipe | None
    problems: tuple[RecipeProblem, ...] = ()
    is_read: bool = True


@dataclass(frozen=True, slots=True)
class _Shelf:
    """All files as they were read last, in the order of the folders."""

    files: Mapping[Path, _File] = field(default_factory=dict)
    problems: tuple[RecipeProblem, ...] = ()


def recipe_folders(settings: RecipesSettings) -> list[RecipeFolder]:
    """The shipped recipes, then the operator's folders in their order."""
    may_sudo = settings.sudo_folders
    return [RecipeFolder(recipes_folder()), *(_folder_of(table, may_sudo) for table in settings.tables)]


def _folder_of(table: RecipeFolderSettings, may_sudo: Sequence[Path] | None) -> RecipeFolder:
    named = () if isinstance(table.override, bool) else table.override
    return RecipeFolder(
        table.path,
        sudo=may_sudo is None or table.path in may_sudo,
        override=None if table.override is True else frozenset(named),
        prefix=table.prefix,
    )


class RecipeBook:
    """The recipes by name (the port ``vesemir.engine.ports.recipes.Recipes``). ``log`` hears of each change."""

    def __init__(self, folders: Sequence[RecipeFolder], *, log: Log | None = None) -> None:
        """Reads what can be read; ``problem`` tells of the rest."""
        self._folders = tuple(folders)
        self._log = log or SilentLog()
        self._recipes: dict[str, Recipe | None] = {}
        self._warned: frozenset[str] = frozenset()
        self._reloading: ReloadedFiles[_Shelf] = ReloadedFiles(self._look, self._read)

    @property
    def names(self) -> Sequence[str]:
        return tuple(name for name, recipe in self._recipes.items() if recipe is not None)

    @property
    def problem(self) -> str:
        """Everything that is wrong with the files now, a line each; "" when nothing is."""
        return self._reloading.problem

    @property
    def problems(self) -> tuple[RecipeProblem, ...]:
        return self._reloading.current.problems

    @property
    def places(self) -> list[RecipePlace]:
        """Where each recipe comes from, by name."""
        return _places(self._folders, self._reloading.current.files)

    def get(self, name: str) -> Recipe | None:
        return self._recipes.get(name)

    def recorded(self, name: str, source: str) -> Recipe | None:
        """The recipe of that text, which was sound when a deployment began with it; None if this version cannot
        read it."""
        try:
            return recipe_of(Path(f"{name}.toml"), source)
        except RecipeFileError:
            return None

    def refresh(self) -> None:
        """Look whether a file has changed. Reads those that have, so not on the event loop."""
        self._reloading.refresh()

    def _look(self) -> Hashable:
        return stamp_of(folder.path for folder in self._folders), *(_stamp_of(folder) for folder in self._folders)

    def _read(self, before: _Shelf | None) -> Reading[_Shelf]:
        known = {} if before is None else before.files
        files: dict[Path, _File] = {}
        problems: list[RecipeProblem] = []
        complete = True
        for folder in self._folders:
            try:
                found = {path: _load(path, known.get(path), sudo=folder.sudo) for path in folder.files()}
                problems += folder.misnamed()
            except OSError as error:
                complete = complete and isinstance(error, _NO_FOLDER)
                problems.append(RecipeProblem(folder.path, None, _reason(error)))
                files |= {path: file for path, file in known.items() if path.parent == folder.path}
                continue
            problems += [problem for file in found.values() for problem in file.problems]
            files |= found
        shelf = _Shelf(files, tuple(problems))
        problem = "\n".join(map(str, problems))
        self._recipes = _by_name(files)
        self._warn(_places(self._folders, files))
        if before is not None:
            self._report(before, shelf, problem)
        return Reading(shelf, problem, complete=complete and all(file.is_read for file in files.values()))

    def _warn(self, places: Sequence[RecipePlace]) -> None:
        """Each once, for as long as it is there."""
        warnings = [place.warning for place in places if place.warning]
        for warning in warnings:
            if warning not in self._warned:
                self._log.warning("{warning}", warning=warning)
        self._warned = frozenset(warnings)

    def _report(self, before: _Shelf, now: _Shelf, problem: str) -> None:
        changed = sorted(path.stem for path in now.files.keys() | before.files.keys() if _differs(path, before, now))
        if changed:
            self._log.info("recipes were read again: {names}", names=", ".join(changed))
        if problem and now.problems != before.problems:
            self._log.error(
                "recipes are broken; where there was a good version before, it stays in use: {problem}", problem=problem
            )


def _reason(error: OSError) -> str:
    """Why there are no recipes in a folder."""
    if isinstance(error, _NO_FOLDER):
        return "is no folder; check recipes.folders in the settings"
    return f"cannot be looked at now: {error.strerror or error}; what was read before stays in use"


def _differs(path: Path, before: _Shelf, now: _Shelf) -> bool:
    old, new = before.files.get(path), now.files.get(path)
    return (old.recipe if old else None) is not (new.recipe if new else None)


def _by_name(files: Mapping[Path, _File]) -> dict[str, Recipe | None]:
    found: dict[str, Recipe | None] = {}
    for path, file in files.items():
        found[path.stem] = file.recipe
    return dict(sorted(found.items()))


def _places(folders: Sequence[RecipeFolder], files: Mapping[Path, _File]) -> list[RecipePlace]:
    """Broken files too: they take a name away."""
    rules = {folder.path: folder.override for folder in folders}
    found: dict[str, RecipePlace] = {}
    for path in files:
        before, override = found.get(path.stem), rules.get(path.parent, frozenset())
        hides = () if before is None else (*before.hides, before.file)
        announced = not hides or override is None or path.stem in override
        found[path.stem] = RecipePlace(path.stem, path, hides, announced)
    return sorted(found.values(), key=lambda place: place.name)


def _stamp_of(folder: RecipeFolder) -> Hashable:
    """What changes when something in the folder does, or when it can no longer be looked at."""
    try:
        return stamp_of(folder.all_files())
    except OSError as error:
        return error.errno


def _load(path: Path, known: _File | None, *, sudo: bool) -> _File:
    stamp = stamp_of([path])
    if known is not None and known.is_read and known.stamp == stamp:
        return known
    try:
        return _File(stamp, read_recipe(path, sudo=sudo))
    except RecipeFileError as error:
        is_read = not isinstance(error.__cause__, OSError)
        return _File(stamp, known.recipe if known is not None else None, error.problems, is_read=is_read)


def load_recipes(folders: Sequence[Path | RecipeFolder]) -> RecipeBook:
    """All of them must be sound. Raises ``RecipeFileError`` with the problems of all files, also of those that a later
    folder overrides."""
    book = RecipeBook([folder if isinstance(folder, RecipeFolder) else RecipeFolder(folder) for folder in folders])
    if book.problems:
        raise RecipeFileError(book.problems)
    return book
