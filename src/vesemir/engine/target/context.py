"""What every part of one deployment's run works with."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vesemir.domain.hiding import Redactor
from vesemir.domain.recipe import Recipe
from vesemir.domain.request import DeployRequest
from vesemir.engine.limits import EngineLimits
from vesemir.engine.ownership.leases import HeldLease
from vesemir.engine.ownership.recorder import Recorder
from vesemir.engine.ownership.secret_parameters import Seal
from vesemir.engine.ownership.stop_signal import StopSignal
from vesemir.engine.ports.hosts import Hosts, Ticket
from vesemir.engine.ports.inventory import Inventory
from vesemir.engine.ports.load_balancer import LoadBalancers
from vesemir.engine.ports.observe import Log, Meters
from vesemir.engine.ports.policies import Policies
from vesemir.engine.ports.recipes import Recipes
from vesemir.engine.ports.store import Store
from vesemir.engine.target.board import Board
from vesemir.engine.traffic.traffic import Traffic


@dataclass(frozen=True, slots=True)
class EnginePorts:
    """The outside, as one instance has it. ``redact`` takes secrets out of text before it is stored.

    ``artifact`` gives the file of this instance that a ``file://`` address means; raises ``FailedError``.
    ``artifact_seen`` says in words how an ``http(s)://`` address looks from this instance.
    ``seal`` opens the secret parameters that the record keeps.
    """

    store: Store
    hosts: Hosts
    balancers: LoadBalancers
    inventory: Inventory
    recipes: Recipes
    policies: Policies
    log: Log
    meters: Meters
    redact: Callable[[str], str]
    artifact: Callable[[str], Path]
    artifact_seen: Callable[[str], Awaitable[str]]
    seal: Seal | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """One claimed deployment under way. ``traffic`` is None when no traffic is moved.

    ``redact`` takes its secrets out of a text: to be called before anything is stored or published. Steps that run are
    entered on ``board``.
    """

    request: DeployRequest
    recipe: Recipe
    lease: HeldLease
    recorder: Recorder
    ports: EnginePorts
    limits: EngineLimits
    traffic: Traffic | None
    redact: Redactor
    board: Board = field(default_factory=Board)

    @property
    def stop_signal(self) -> StopSignal:
        return self.lease.stop_signal

    async def in_traffic(self, *names: str) -> Mapping[str, bool | None]:
        """What HAProxy says of these targets now; None for each where no traffic is moved or HAProxy is away."""
        if self.traffic is None:
            return dict.fromkeys(names)
        return await self.traffic.in_traffic(names, seconds=self.limits.settle_seconds)

    def ticket(self) -> Ticket:
        """The right to work on a host, for this claim."""
        return Ticket(
            deployment_id=self.request.deployment_id,
            lane=self.request.lane,
            epoch=self.lease.claim.epoch,
            valid=self.lease.valid,
            beat_seconds=self.limits.lease.beat_seconds,
            silence_seconds=self.limits.lease.silence_seconds,
            lock_seconds=max(10.0, 2 * self.limits.lease.silence_seconds),
        )
