"""Waiting while a lab is up in the foreground."""

import asyncio
import os

from vesemir.lab.roster import Roster


async def all_ended(roster: Roster, *, or_when: asyncio.Event) -> None:
    """Wait until every process of the roster has ended (somebody else took the lab down), or until ``or_when``."""
    loop = asyncio.get_running_loop()
    watched: set[int] = set()

    def ended(descriptor: int) -> None:
        loop.remove_reader(descriptor)
        watched.discard(descriptor)
        os.close(descriptor)
        if not watched:
            or_when.set()

    for entry in roster.entries:
        try:
            descriptor = os.pidfd_open(entry.pid)
        except ProcessLookupError:
            continue
        watched.add(descriptor)
        loop.add_reader(descriptor, ended, descriptor)
    try:
        await or_when.wait()
    finally:
        for descriptor in watched:
            loop.remove_reader(descriptor)
            os.close(descriptor)
