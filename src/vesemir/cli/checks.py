"""What ``vesemir check`` looks at: each part of an installation, with everything that is wrong with it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vesemir.adapters.chef import check_chef, clusters_of
from vesemir.adapters.inventory import InventoryFileError, StaticInventory
from vesemir.adapters.policy import read_policy
from vesemir.adapters.postgres.checking import check_writes, may_change_audit
from vesemir.adapters.postgres.migrations import installation, pending
from vesemir.adapters.postgres.poolers import PoolMode
from vesemir.adapters.postgres.restored import restored_since
from vesemir.adapters.recipes import RecipePlace, load_recipes, recipe_folders
from vesemir.cli.check_lines import CheckProblem, CheckWarning
from vesemir.cli.configuration import ConfigurationError, load_settings
from vesemir.cli.consumers import broker_lines
from vesemir.cli.exposure import exposures
from vesemir.cli.jump_lines import jump_lines
from vesemir.cli.output import count
from vesemir.cli.requesting import quiet
from vesemir.domain.failure import VesemirError
from vesemir.domain.recipe import has_secrets
from vesemir.engine.ports.observe import SilentLog
from vesemir.plaintext import refuse_plaintext
from vesemir.settings import Settings, settings_file
from vesemir.shipped import recipes_folder

_POLLED = ", where LISTEN cannot work: an instance sees what another one recorded up to a second later"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check. A ``warning`` fails nothing: it works and is not safe, or cannot work yet."""

    part: str
    ok: bool
    detail: str
    warning: bool = False


def findings(*, before_start: bool = False) -> Iterator[Finding]:
    """Part by part; after the first part that has something wrong with it there is nothing more.

    ``before_start``: no instance needs to run yet.
    """
    try:
        settings = load_settings()
    except ConfigurationError as error:
        for line in str(error).splitlines():
            yield Finding("settings", ok=False, detail=line.removeprefix("settings: "))
        return
    yield Finding("settings", ok=True, detail=_settings_detail())
    quiet()
    for part, look in _parts(before_start=before_start):
        found = list(_found(part, look, settings))
        yield from found
        if not all(each.ok for each in found):
            return
    yield from (Finding("exposure", ok=True, detail=detail, warning=True) for detail in exposures(settings))


def _found(part: str, look: Callable[[Settings], Iterator[str]], settings: Settings) -> Iterator[Finding]:
    """A line if all is well, for recipes one for each folder and for jump hosts one each, and one for each warning;
    else a line for everything that is wrong."""
    try:
        lines = list(look(settings))
    except VesemirError as error:
        yield from (Finding(part, ok=False, detail=line) for line in str(error).splitlines())
        return
    if good := [line for line in lines if not isinstance(line, CheckWarning | CheckProblem)]:
        # Each folder of recipes has a line of its own: what replaces what must be seen.
        own_lines = look in {_recipes, jump_lines}
        yield from (Finding(part, ok=True, detail=line) for line in (good if own_lines else ["; ".join(good)]))
    yield from (Finding(part, ok=False, detail=str(line)) for line in lines if isinstance(line, CheckProblem))
    warnings = (str(line) for line in lines if isinstance(line, CheckWarning))
    yield from (Finding(part, ok=True, detail=line, warning=True) for line in warnings)


def _settings_detail() -> str:
    file = settings_file()
    return f"{file} and VESEMIR_* variables" if file.is_file() else f"VESEMIR_* variables ({file} is not there)"


def _tls(settings: Settings) -> Iterator[str]:
    """Nothing where TLS is not asked for."""
    refuse_plaintext(settings)
    if settings.http.tls_certificate is None:
        return
    from vesemir.adapters.http.tls import TlsFiles  # noqa: PLC0415 -- a command that looks at nothing else does not need it

    files = TlsFiles.of(settings.http, log=SilentLog())
    if files is None:
        return
    if files.problem:
        yield CheckWarning(files.problem)
    yield f"{settings.http.tls_certificate}: until {files.ends:%Y-%m-%d %H:%M} UTC"


def _recipes(settings: Settings) -> Iterator[str]:
    folders = recipe_folders(settings.recipes)
    book = load_recipes(folders)
    secret = [name for name in book.names if (recipe := book.get(name)) and has_secrets(recipe)]
    if secret and settings.secrets.key is None:
        raise VesemirError(
            f"{', '.join(secret)}: has secret parameters, and secrets.key_file is not set, so its events are refused; "
            "`openssl rand -base64 32` makes a key, the same for all instances"
        )
    yield f"{count(len(book.names), 'recipe')}: {', '.join(book.names)}"
    shipped, places = recipes_folder(), book.places
    for folder in folders:
        named = [_recipe_at(place, shipped) for place in places if place.file.parent == folder.path]
        yield f"{_folder_name(folder.path, shipped)}: {', '.join(named) or 'none'}"
    yield from (f"warning: {place.warning}" for place in places if place.warning)


def _recipe_at(place: RecipePlace, shipped: Path) -> str:
    hidden = ", ".join(_folder_name(file.parent, shipped) for file in place.hides)
    return f"{place.name} (hides that of {hidden})" if hidden else place.name


def _folder_name(folder: Path, shipped: Path) -> str:
    return "the shipped recipes" if folder == shipped else str(folder)


def _policy(settings: Settings) -> Iterator[str]:
    file = settings.policy.file
    if file is None:
        return
    policy = read_policy(file)
    yield f"{file}: {count(len(policy.permissions), 'permission')}"
    yield count(len(policy.freezes), "freeze")
    yield count(len(policy.limits), "limit")
    yield count(len(policy.controls), "control rule")
    if not policy.controls:
        yield CheckWarning(
            f"{file} has no [[control]]: whoever may publish control messages may cancel, pause and approve every "
            "deployment, and lock every lane; name who may (docs/policy.md)"
        )
    if anywhere := [each.name for each in policy.permissions if each.is_open_to_all_backends]:
        yield (
            f"note: {', '.join(f'allow {name}' for name in anywhere)} has no haproxy, so requests may move the servers "
            "with their targets' names in every backend of every load balancer: name them, or set haproxy = false"
        )
    if everybody := [each.name for each in policy.permissions if each.lets_everybody_break_glass]:
        yield (
            f"note: {', '.join(f'allow {name}' for name in everybody)} has break_glass and neither users nor groups, "
            "so whoever may deploy there may go past locks and freezes: name who is on call"
        )
    known = load_recipes(recipe_folders(settings.recipes)).names
    for permission in policy.permissions:
        if permission.recipes is not None and not any(permission.recipes.has(name) for name in known):
            yield f"note: no recipe is called as allow {permission.name} says ({permission.recipes})"


def _database(settings: Settings) -> Iterator[str]:
    dsn = settings.postgres.dsn.get_secret_value()
    missing = asyncio.run(pending(dsn))
    if missing:
        raise VesemirError(f"the schema is not up to date ({', '.join(missing)}); run `vesemir migrate`")
    namespace = asyncio.run(installation(dsn))
    if namespace not in {None, settings.amqp.namespace}:
        raise VesemirError(
            f"it belongs to the installation with amqp.namespace {namespace!r}, and this one has "
            f"{settings.amqp.namespace!r}; give each installation a database of its own"
        )
    mode = asyncio.run(check_writes(settings.postgres))
    yield "answers, can be written, and its schema is up to date"
    if mode is not None:
        yield f"through a pooler in {mode} mode{_POLLED if mode is PoolMode.TRANSACTION else ''}"
    if asyncio.run(may_change_audit(settings.postgres)):
        yield CheckWarning(
            "its role may change and delete rows of the audit: give the instances the role of sql/roles/daemon.sql and "
            "keep the owner's for `vesemir migrate` and `vesemir audit prune` (docs/audit.md)"
        )
    if (since := asyncio.run(restored_since(dsn))) is not None:
        yield CheckWarning(
            f"it was restored from a backup at {since:%Y-%m-%d %H:%M:%S %Z}: events sent before are refused if their "
            "ids are not known, until `vesemir migrate --accept-repeats` (docs/restore.md)"
        )


def _inventory(settings: Settings) -> Iterator[str]:
    file, chef = settings.inventory.file, clusters_of(settings.inventory)
    if file is None and not chef:
        raise VesemirError(
            "neither inventory.file nor inventory.chef is set, so no target can be found; name a file "
            "(VESEMIR_INVENTORY__FILE) or a Chef server (VESEMIR_INVENTORY__CHEF__URL, __CLIENT_NAME, __CLIENT_KEY)"
        )
    if file is not None:
        yield _static(file)
    if chef:
        yield from asyncio.run(check_chef(settings.inventory))


def _static(file: Path) -> str:
    warnings: list[str] = []
    try:
        inventory = StaticInventory.load(file, warn=warnings.append)
    except InventoryFileError as error:
        raise VesemirError(str(error)) from error
    groups = ", ".join(inventory.groups) or "none"
    return f"{file}: {count(len(inventory.hosts), 'host')}; groups: {groups}"


def _keys(settings: Settings) -> Iterator[str]:
    """All are looked at, also when the first is wrong."""
    from vesemir.adapters.ssh.keys import (  # noqa: PLC0415 -- imports asyncssh
        check_client_key,
        check_identities,
        check_known_hosts,
    )

    problems: list[str] = []
    for look in (check_client_key, check_identities, check_known_hosts):
        try:
            yield from look(settings.ssh).splitlines()
        except VesemirError as error:
            problems.append(str(error))
    if problems:
        raise VesemirError("\n".join(problems))


def _parts(*, before_start: bool) -> tuple[tuple[str, Callable[[Settings], Iterator[str]]], ...]:
    """In this order: what needs no network first, then what everything depends on."""
    return (
        ("tls", _tls),
        ("recipes", _recipes),
        ("policy", _policy),
        ("broker", partial(broker_lines, before_start=before_start)),
        ("database", _database),
        ("inventory", _inventory),
        ("keys", _keys),
        ("jumps", jump_lines),
    )
