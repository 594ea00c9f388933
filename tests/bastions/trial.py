"""Every host is logged in to at the same moment, through both jump hosts: what came of it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.integration.jump_site import JumpSite, logins, refused_handshakes
from tests.integration.ssh_server import free_port
from tests.integration.ssh_sessions import key, shell, ticket

from vesemir.adapters.ssh.hosts import SshHosts
from vesemir.domain.failure import FailedError, Failure
from vesemir.domain.plan import make_plan
from vesemir.domain.request import Rollout
from vesemir.domain.rollout import Halt, Standing, next_move
from vesemir.domain.share import Share
from vesemir.domain.states import TargetState
from vesemir.domain.step import Direction
from vesemir.domain.target import Target
from vesemir.domain.verdict import target_state_of

START_SECONDS = 120.0
"""For a login and a supervisor's start: all hosts are one machine, which starts them all at once."""
WAIT_SECONDS = 2.0
"""For the dead one; 30 s by default."""


@dataclass(frozen=True, slots=True)
class FullTrial:
    targets: int
    failures: Sequence[Failure]
    logins: Sequence[int]
    refused: int
    seconds: float

    @property
    def kept(self) -> bool:
        return not self.failures and set(self.logins) == {1} and self.refused == 0

    def __str__(self) -> str:
        failed = "".join(f"\n  {failure.message}" for failure in self.failures[:3])
        return (
            f"{self.targets - len(self.failures)} of {self.targets} targets succeeded in {self.seconds:.1f} s; "
            f"logins at the jump hosts: {' and '.join(map(str, self.logins))}; "
            f"handshakes refused: {self.refused}{failed}"
        )


@dataclass(frozen=True, slots=True)
class DeadTrial:
    targets: int
    messages: frozenset[str]
    deployment: str
    seconds: float

    @property
    def kept(self) -> bool:
        return len(self.messages) == 1 and f"{self.targets} because jump host" in self.deployment

    def __str__(self) -> str:
        return (
            f"the second one dead: {len(self.messages)} message for {self.targets} targets after {self.seconds:.1f} s\n"
            f"  {self.deployment}"
        )


async def full_trial(site: JumpSite, count: int) -> FullTrial:
    before, begun = [logins(jump) for jump in site.jumps.values()], time.monotonic()
    async with site.hosts(login_timeout_seconds=START_SECONDS) as hosts:
        ends = await asyncio.gather(*(_one(hosts, target) for target in _targets(site, count)))
    return FullTrial(
        count,
        [failure for failure in ends if failure is not None],
        [logins(jump) - then for jump, then in zip(site.jumps.values(), before, strict=True)],
        sum(map(refused_handshakes, (site.box, *site.jumps.values()))),
        time.monotonic() - begun,
    )


async def dead_trial(site: JumpSite, count: int) -> DeadTrial:
    """What the deployment would say is asked of the rollout's own decision."""
    site.inventory["bastion2"] = Target("bastion2", "127.0.0.1", free_port())
    targets, begun = _targets(site, count), time.monotonic()
    async with site.hosts(jump_wait_seconds=WAIT_SECONDS) as hosts:
        ends = await asyncio.gather(*(_one(hosts, target) for target in targets))
    standings = {
        target.name: Standing(target_state_of(end, Direction.FORWARD), finished=True, failure=end)
        for target, end in zip(targets, ends, strict=True)
    }
    assert {standing.state for standing in standings.values()} == {TargetState.UNREACHABLE}
    move = next_move(make_plan(targets, Rollout(concurrency=Share(count))), standings)
    assert isinstance(move, Halt)
    messages = frozenset(end.message for end in ends if end is not None)
    return DeadTrial(count, messages, move.message, time.monotonic() - begun)


def _targets(site: JumpSite, count: int) -> list[Target]:
    return [site.target(f"web{number}", "bastion1,bastion2") for number in range(1, count + 1)]


async def _one(hosts: SshHosts, target: Target) -> Failure | None:
    try:
        async with hosts.open(target, ticket(lock_seconds=30.0, silence_seconds=30.0)) as host:
            result = await host.run(key(), shell(f"echo {target.name}"))
    except FailedError as error:
        return error.failure
    assert result.output == f"{target.name}\n".encode()
    return None
