"""Fault 48: an instance dies while it prepares targets, or between their prepare and their drain.

The recipe is the lab's script recipe with a step of ``prepare``, which writes down itself when it begins and ends.
"""

import asyncio
import json
import random
from pathlib import Path

from tests.chaos.arena import Arena, Deployment
from tests.chaos.faults_dying import die_at
from tests.chaos.faults_traffic import all_up, haproxy_part
from tests.chaos.verdict import Try

from vesemir.engine.failpoints import Failpoint
from vesemir.lab.haproxy import out_of_traffic

RECIPE = "prepared-script"
_PREPARE = """
[[prepare]]
name = "prepare"
script = '''
echo "begin $VESEMIR_DEPLOYMENT_ID" >> "$VAR_ROOT/prepared"
sleep 0.3
echo "end $VESEMIR_DEPLOYMENT_ID" >> "$VAR_ROOT/prepared"
'''

[[steps]]
"""


async def in_prepare(arena: Arena, blow: Try) -> None:
    """After the host's result, before it is recorded: the next owner adopts it."""
    await _die(arena, blow, Failpoint.BEFORE_RECORD)
    for deployment, box, lines in _prepared(arena, blow):
        blow.expect(lines == ["begin", "end"], f"{deployment.id} was prepared on {box} as {lines}: not adopted")


async def before_drain(arena: Arena, blow: Try) -> None:
    """Everything is recorded: nothing is done again."""
    await _die(arena, blow, Failpoint.PREPARED)
    for deployment, box, lines in _prepared(arena, blow):
        blow.expect(lines == ["begin", "end"], f"{deployment.id} was prepared on {box} as {lines}: done again")


async def killed_somewhere(arena: Arena, blow: Try) -> None:
    """Behind HAProxy: whatever was being done, every server serves afterwards."""
    await use_recipe(arena)
    await arena.crew(2)
    rollout = {"concurrency": 2, "min_healthy_seconds": 0, "prepare": random.choice(["target", "all"])}
    made = arena.event(
        boxes=3, seconds=0.5, haproxy=haproxy_part(arena), lane="traffic", recipe=RECIPE, rollout=rollout
    )
    blow.look_at(made)
    await arena.requester.deploy(made.event)
    owner = await arena.owned(made)
    await asyncio.sleep(random.uniform(0, 2.0))
    await owner.kill()
    blow.strike(made)
    await arena.result(made)
    out = await out_of_traffic(arena.lab.described["haproxy_socket"])
    blow.expect(not out, f"left out of traffic: {out}")
    await all_up(blow, arena.lab.described["haproxy_socket"])
    blow.tries = 1


async def _die(arena: Arena, blow: Try, place: Failpoint) -> None:
    """One box, because others that are prepared beside it may be in flight, and are done again."""
    await use_recipe(arena)
    rollout = {"concurrency": 1, "min_healthy_seconds": 0, "prepare": random.choice(["target", "all"])}
    await die_at(arena, blow, place, recipe=RECIPE, rollout=rollout, boxes=1)


async def use_recipe(arena: Arena) -> None:
    """By every instance of this arena from now on."""
    if "VESEMIR_RECIPES__FOLDERS" in arena.variables:
        return
    folder = arena.logs / f"{arena.name}-recipes"
    folder.mkdir()
    script = (arena.lab.folder / "recipes" / "lab-script.toml").read_text()
    (folder / f"{RECIPE}.toml").write_text(script.replace("[[steps]]\n", _PREPARE.lstrip(), 1))
    arena.variables["VESEMIR_RECIPES__FOLDERS"] = json.dumps([str(arena.lab.folder / "recipes"), str(folder)])
    await arena.crew(0)


def _prepared(arena: Arena, blow: Try) -> list[tuple[Deployment, str, list[str]]]:
    """What the boxes say of each target: its lines, in order."""
    roots = {box["name"]: Path(box["root"]) for box in arena.lab.boxes}
    return [
        (
            deployment,
            name,
            [
                line.split()[0]
                for line in (roots[name] / "prepared").read_text().splitlines()
                if line.endswith(f" {deployment.id}")
            ],
        )
        for deployment in blow.deployments
        for name in deployment.boxes
    ]
