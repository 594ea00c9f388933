"""Faults 45 to 47: the bastion dies, a certificate expires and is renewed late, a credential is rotated."""

import asyncio
import random
import time
from pathlib import Path

from tests.chaos.arena import Arena
from tests.chaos.bastion import behind_bastion
from tests.chaos.faults_dying import staggered
from tests.chaos.faults_hosts import KEEPALIVE
from tests.chaos.verdict import Try
from tests.integration.ssh_certificates import Authority
from tests.integration.ssh_server import make_key
from tests.rotation.rotation import Rotation

AWAY_SECONDS = 8.0
LATE_SECONDS = 4.0
"""A renewal comes so long after the end of the old certificate at the latest; ``ssh.login_timeout_seconds`` is 20."""
VALID_SECONDS = 6.0


async def bastion_dies(arena: Arena, blow: Try) -> None:
    """Every host is behind it: what ran there is done again when it is back, and nothing fails."""
    await arena.crew(0)
    bastion, variables = await behind_bastion(arena)
    await asyncio.gather(*(arena.start(**variables, **KEEPALIVE) for _ in range(2)))
    asked = await staggered(arena, number=4, seconds=1.2)
    blow.look_at(*asked)
    for each in asked:
        await arena.running(each)
    await asyncio.sleep(random.uniform(0, 1.0))
    await bastion.kill()
    await asyncio.sleep(random.uniform(0.3, AWAY_SECONDS))
    before = bastion.logins()
    await bastion.start()
    blow.strike(*asked)
    for each in asked:
        await arena.result(each)
    again = bastion.logins() - before
    blow.expect(0 < again <= len(arena.instances), f"{again} logins at the bastion by {len(arena.instances)} instances")
    blow.tries = len(asked)


async def certificate_renewed(arena: Arena, blow: Try) -> None:
    """It is over between two hosts of a rollout, and its successor is late: the rollout waits, and no login fails."""
    await arena.crew(0)
    folder = arena.logs / f"{arena.name}-ca-{time.time_ns()}"
    authority = await asyncio.to_thread(Authority.made, folder)
    key = await asyncio.to_thread(make_key, folder / "key")
    with _authorized_keys(arena).open("a") as keys:
        keys.write(f"cert-authority {authority.public.read_text()}")
    user = arena.lab.boxes[0]["user"]

    async def renew(seconds: float) -> float:
        """When it ends: whole seconds, and an hour for the last one."""
        await asyncio.to_thread(authority.sign_user, key, user, seconds=seconds)
        return float(int(time.time() + seconds))

    ends = await renew(VALID_SECONDS + 30)  # instances start in this time
    variables = {"VESEMIR_SSH__CLIENT_KEY": str(key)}
    await asyncio.gather(*(arena.start(**variables, **KEEPALIVE) for _ in range(2)))
    ends = await renew(VALID_SECONDS)
    asked = [await arena.deploy(boxes=5, seconds=1.5) for _ in range(2)]
    blow.look_at(*asked)
    for each in asked:
        await arena.running(each)
    await asyncio.sleep(max(0.0, ends - time.time()) + random.uniform(0.5, LATE_SECONDS))
    unfinished = [each for each in asked if not arena.requester.events(each.id, "deployment.finished")]
    blow.expect(unfinished, "nothing was left to do when the certificate had ended")
    await renew(3600)
    blow.strike(*unfinished)
    for each in asked:
        await arena.result(each)
        runs = arena.runs(each)
        blow.expect(len(runs) == len(each.boxes), f"{each.id}: {len(runs)} runs on {len(each.boxes)} boxes")
        blow.expect(any(run.started > ends for run in runs), f"{each.id} was over before its certificate")
    blow.tries = len(asked)


async def rotated(arena: Arena, blow: Try) -> None:
    """One credential of four at random, while deployments begin all the time; every connection has to log in again."""
    await arena.crew(0)
    folder = arena.logs / f"{arena.name}-rotation-{time.time_ns()}"
    folder.mkdir()
    rotation = Rotation(arena, folder, user=f"{arena.name}{time.time_ns() % 10**9}")
    before = dict(arena.variables)
    try:
        await rotation.prepare()
        await asyncio.gather(*(arena.start() for _ in range(2)))
    finally:
        arena.variables = before
    steady = asyncio.create_task(rotation.deploy())
    await asyncio.sleep(random.uniform(1.0, 2.5))
    await random.choice((rotation.broker, rotation.database, rotation.token, rotation.ssh))()
    at = time.time()
    await asyncio.gather(*(instance.health(200) for instance in arena.instances))
    after = await arena.deploy(boxes=1, seconds=0.2)
    blow.look_at(after)
    await arena.requester.event(after.id, "target.started", seconds=60)
    blow.recoveries.append(time.time() - at)
    await asyncio.sleep(random.uniform(1.0, 2.5))
    steady.cancel()
    await asyncio.gather(steady, return_exceptions=True)
    blow.look_at(*rotation.asked)
    for each in rotation.asked:
        await arena.result(each)
        taken = arena.requester.events(each.id, "deployment.taken_over")
        blow.expect(not taken, f"{each.id} was taken over because a credential was rotated")
    blow.tries = 1


def _authorized_keys(arena: Arena) -> Path:
    (found,) = arena.lab.folder.glob("**/authorized_keys")
    return found
