"""Fault 31: an older release and this one: the instance that began a deployment dies, the other one ends it.

This one begins with a recipe that has steps of ``prepare``, of which the older ones do not know. The shipped
``release`` is handed over in ``tests/acceptance/test_acc_upgrade.py``.
"""

import asyncio
import random
from collections.abc import Mapping

from tests.acceptance.previous_release import export_previous, its_settings
from tests.chaos.arena import Arena
from tests.chaos.faults_prepare import RECIPE, use_recipe
from tests.chaos.faults_traffic import all_up, haproxy_part
from tests.chaos.verdict import Try

from vesemir.lab.haproxy import out_of_traffic

OLDER = ("e6d4337", "652b91c")
"""Release 0.1, and what landed before the present one."""

ARENAS = {"VESEMIR_POSTGRES__DSN", "VESEMIR_AMQP__NAMESPACE", "VESEMIR_LEASE__SECONDS"}


async def old_and_new(arena: Arena, blow: Try) -> None:
    """Whatever the one was doing: nothing is done twice, and every server serves."""
    await use_recipe(arena)
    await arena.crew(0)
    older = await asyncio.to_thread(_older, arena, random.choice(OLDER))
    begins, ends = random.choice([(older, {}), ({}, older)])
    first = await arena.start(**begins)
    recipe = "lab-script" if begins else RECIPE
    made = arena.event(boxes=3, seconds=1.0, haproxy=haproxy_part(arena), recipe=recipe, concurrency=1)
    blow.look_at(made)
    await arena.requester.deploy(made.event)
    await arena.owned(made)
    starting = asyncio.create_task(arena.start(**ends))
    await asyncio.sleep(random.uniform(0, 4.0))
    await first.kill()
    blow.strike(made)
    blow.tries = 1
    second = await starting
    result = await arena.result(made)
    blow.expect(str(result["instance"]).startswith(f"{second.name}/"), f"ended by {result['instance']}")
    out = await out_of_traffic(arena.lab.described["haproxy_socket"])
    blow.expect(not out, f"left out of traffic: {out}")
    await all_up(blow, arena.lab.described["haproxy_socket"])


def _older(arena: Arena, commit: str) -> Mapping[str, str]:
    """The environment of an instance of that commit, which reads the lab's recipes alone."""
    folder = arena.logs.parent / f"release-{commit}"
    if not folder.exists():
        folder.mkdir()
        export_previous(folder, commit)
    source = {"PYTHONPATH": str(folder / "src")}
    settings = its_settings(arena.lab.described["env"], source, folder)
    return {name: value for name, value in settings.items() if name not in ARENAS} | source
