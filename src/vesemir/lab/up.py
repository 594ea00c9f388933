"""``lab up`` and ``lab down``: the order in which a lab comes up, and what becomes of it when something goes wrong."""

import asyncio
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesemir.lab.artifacts import write_artifacts
from vesemir.lab.boxes import start_boxes
from vesemir.lab.documents import lab_json, read_lab, write_documents, write_private
from vesemir.lab.ending import GRACE_SECONDS, Ended, end, stop_owner
from vesemir.lab.haproxy import start_balancers
from vesemir.lab.machines import BOOTED, SHUTDOWN_SECONDS, clear_after, refuse_elsewhere, start_machines
from vesemir.lab.nodes import nodes_json
from vesemir.lab.places import LabError, Places
from vesemir.lab.postgres import start_postgres, start_primary_and_standby
from vesemir.lab.programs import Programs, find_programs
from vesemir.lab.progress import Progress
from vesemir.lab.rabbitmq import start_cluster, start_rabbitmq
from vesemir.lab.roster import Roster
from vesemir.lab.topology import JUMPED, LabTopology, Wanted, plan

Migrate = Callable[[str], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Up:
    """A lab that is up. ``already`` is True when it was before; ``roster`` says what runs."""

    lab: dict[str, Any]
    roster: Roster
    already: bool


async def bring_up(folder: Path, wanted: Wanted, *, migrate: Migrate, progress: Progress) -> Up:
    """Start a lab in ``folder`` as it is wanted, or find that one is up there already.

    If it fails or is cancelled, everything that it started is ended again before the error goes on.
    """
    token = secrets.token_hex(16)
    places = Places.of(folder, token=token)
    if wanted.machines:
        refuse_elsewhere()
    programs = find_programs(chef=wanted.chef, machines=wanted.machines)
    places.claim()
    with places.locked():
        found = _found(places, progress)
        if found is not None:
            _refuse_other(found.lab, wanted, places)
            return found
        roster = Roster.new(places.processes, token=token)
        try:
            start = _Start(places, programs, roster, progress)
            lab = await start.everything(wanted, migrate=migrate)
        except BaseException:
            progress.say("taking everything down again")
            _finish(places, roster)
            raise
        return Up(lab, roster, already=False)


def _found(places: Places, progress: Progress) -> Up | None:
    """A lab that is up already; what a broken-off one left is cleared away."""
    roster = Roster.read(places.processes)
    if roster is None:
        return None
    if places.lab_json.exists() and not roster.missing:
        return Up(read_lab(places), roster, already=True)
    if places.lab_json.exists() and len(roster.missing) < len(roster.entries):
        names = ", ".join(entry.name for entry in roster.missing[:5])
        raise LabError(f"the lab in {places.folder} is up but for {names}: take it down with `vesemir lab down` first")
    progress.say("clearing away what an earlier lab left")
    _finish(_places_of(places, roster), roster)
    return None


def _places_of(places: Places, roster: Roster) -> Places:
    """The same folder, with the spare one of the ``up`` that the roster is of."""
    return Places.of(places.folder, token=roster.token)


@dataclass(frozen=True, slots=True)
class _Start:
    """One start of a lab, with what all of its parts need."""

    places: Places
    programs: Programs
    roster: Roster
    progress: Progress

    async def everything(self, wanted: Wanted, *, migrate: Migrate) -> dict[str, Any]:
        """All parts side by side; returns what ``lab.json`` says."""
        self.places.clear()
        self.places.make()
        topology = plan(self.places, wanted)
        artifacts = write_artifacts(self.places.within("artifacts"))
        write_documents(topology)
        show = self.progress.of
        async with _one_error(), asyncio.TaskGroup() as group:
            group.create_task(show(*self._broker(topology)))
            group.create_task(show("PostgreSQL, migrated", self._database(topology, migrate)))
            group.create_task(show(_what(wanted), self._web(topology)))
            if wanted.chef:
                from vesemir.lab.chef import start_chef  # noqa: PLC0415 -- aiohttp is slow to import

                group.create_task(show("Chef server", start_chef(topology, self.programs, self.roster)))
        lab = lab_json(topology, artifacts) | nodes_json(topology, self.roster)
        write_private(self.places.lab_json, json.dumps(lab, indent=2) + "\n")
        return lab

    def _broker(self, topology: LabTopology) -> tuple[str, Coroutine[Any, Any, None]]:
        if topology.brokers:
            return f"{len(topology.brokers)} RabbitMQ nodes", start_cluster(topology, self.programs, self.roster)
        return "RabbitMQ", start_rabbitmq(topology, self.programs, self.roster)

    async def _database(self, topology: LabTopology, migrate: Migrate) -> None:
        if topology.databases:
            await start_primary_and_standby(topology, self.programs, self.roster)
        else:
            await start_postgres(topology, self.programs, self.roster)
        await migrate(topology.postgres_dsn)

    async def _web(self, topology: LabTopology) -> None:
        start = start_machines if topology.machines else start_boxes
        await start(topology, self.programs, self.roster)
        await start_balancers(topology, self.programs, self.roster)


def _what(wanted: Wanted) -> str:
    balancers = "HAProxy" if wanted.balancers == 1 else f"{wanted.balancers} HAProxies"
    bare = f", {wanted.bare} bare" if wanted.bare else ""
    jumped = f", {JUMPED} behind a jump host" if wanted.bastion else ""
    return f"{wanted.boxes} {'machines' if wanted.machines else 'boxes'} behind {balancers}{bare}{jumped}"


def _refuse_other(lab: dict[str, Any], wanted: Wanted, places: Places) -> None:
    """A lab that is up without what is wanted now is no lab to go on with."""
    missing = (
        ("a Chef server", wanted.chef and lab["chef"] is None),
        ("a cluster and a standby", wanted.ha and "amqp_urls" not in lab),
        ("machines", wanted.machines and not lab.get("machines")),
        ("a jump host", wanted.bastion and "bastion" not in lab),
        ("so many bare machines", wanted.bare > len(lab.get("bare", ()))),
    )
    for what, lacks in missing:
        if lacks:
            raise LabError(f"the lab in {places.folder} is up without {what}: take it down first")


@asynccontextmanager
async def _one_error() -> AsyncIterator[None]:
    """Of the errors that a task group gathers, the first: the others are its siblings being cancelled, or alike."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def take_down(folder: Path) -> Ended | None:
    """End the lab in ``folder``, whatever state it is in; None if there is none. The folder may have been deleted."""
    places = Places.of(folder, token="")
    roster = Roster.read(places.processes)
    if roster is None:
        orphans = Roster.orphaned(places.processes)
        return None if orphans is None else end(orphans, grace=0)
    ran = () if not roster.of_this_boot else tuple(entry for entry in roster.entries if entry.alive)
    stop_owner(roster)
    with places.locked():
        left = Roster.read(places.processes)
        if left is None:  # the `up` in the foreground, asked to stop, has done it
            return Ended(ran, others=0, killed=0)
        return _finish(_places_of(places, left), left)


def _finish(places: Places, roster: Roster) -> Ended:
    """End everything, then remove what says that there is a lab. The logs stay until the next ``up``."""
    # A machine that is booting hears nothing yet: only one that was up shuts down in good order.
    booted = places.lab_json.exists() and any(entry.name.endswith(BOOTED) for entry in roster.entries)
    ended = end(roster, grace=SHUTDOWN_SECONDS if booted else GRACE_SECONDS)
    clear_after(roster.token, places.within("boxes"))
    places.lab_json.unlink(missing_ok=True)
    if places.spare.is_dir() and places.spare.stat().st_uid == os.geteuid():
        shutil.rmtree(places.spare)
    places.processes.unlink(missing_ok=True)
    return ended
