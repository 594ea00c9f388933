"""The jump hosts of settings and inventory, each tried: a line of ``vesemir check`` for each."""

import asyncio
from collections.abc import Iterator

from vesemir.adapters.chef import clusters_of
from vesemir.adapters.inventory import StaticInventory
from vesemir.cli.check_lines import CheckProblem, CheckWarning
from vesemir.cli.output import count
from vesemir.domain.jump import JUMP_VARIABLE, parse_jumps, refuse_jumps, way_to
from vesemir.domain.selector import HostSelector
from vesemir.domain.target import Target
from vesemir.settings import Settings

_WRITTEN = f"{JUMP_VARIABLE} in fixed_variables of a Chef server"
"""Where wrong words come from: settings and inventory files do not load with them."""


def jump_lines(settings: Settings) -> Iterator[str]:
    """None where there are no jump hosts. Raises ``VesemirError``."""
    from vesemir.adapters.ssh.jump_check import look_at_jumps  # noqa: PLC0415 -- imports asyncssh

    inventory, hosts = _static(settings)
    users = _users(settings, hosts)
    wrong = {words: reason for words in users if (reason := refuse_jumps(words))}
    yield from (CheckProblem(f"{_WRITTEN}: {reason}") for reason in wrong.values())
    ways = {words: _behind(words, users[words]) for words in users if words not in wrong}

    async def find(name: str) -> Target | None:
        return None if inventory is None else await inventory.host(name)

    if any(parse_jumps(words) for words in ways):
        looks, left = asyncio.run(look_at_jumps(settings.ssh, ways, find))
        yield from (look.text if look.ok else CheckProblem(look.text) for look in looks)
        if left:
            yield CheckWarning(f"{count(left, 'more jump host')} not tried: one check looks at {len(looks)}")


def _static(settings: Settings) -> tuple[StaticInventory | None, list[Target]]:
    if settings.inventory.file is None:
        return None, []
    inventory = StaticInventory.load(settings.inventory.file, warn=lambda _text: None)
    hosts = inventory.hosts
    return inventory, asyncio.run(inventory.resolve(HostSelector(hosts))) if hosts else []


def _users(settings: Settings, hosts: list[Target]) -> dict[str, list[Target]]:
    """Who has which jump hosts, as they are written; nobody is named for those of the settings and of Chef servers."""
    users: dict[str, list[Target]] = {settings.ssh.jump: []} if settings.ssh.jump else {}
    for cluster in clusters_of(settings.inventory).values():
        if words := cluster.fixed_variables.get(JUMP_VARIABLE):
            users.setdefault(words, [])
    for host in hosts:
        if words := host.variables.get(JUMP_VARIABLE, settings.ssh.jump):
            users.setdefault(words, []).append(host)
    return users


def _behind(words: str, users: list[Target]) -> Target | None:
    """One that the whole way leads to, which a jump host itself is not."""
    whole = len(parse_jumps(words))
    return next((host for host in users if len(way_to(host, words)) == whole), None)
