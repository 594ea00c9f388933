"""Cancels that came early, of deployments that an instance of the release before has accepted."""

from dataclasses import replace

import pytest
from tests.unit.engine.messages.mailbox import Counted, Lines
from tests.unit.engine.world import InstanceStore, World

from vesemir.domain.control_permission import ControlPermission
from vesemir.domain.identity import Asker, IdentityNames
from vesemir.domain.policy import Policy
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.store import ControlAnswer, ControlCommand
from vesemir.engine.upkeep.early_cancels import EarlyCancels

JOE = ControlCommand("cancel", "d1", "joe", None, Asker.by_amqp("joe"))
ANNA_ONLY = Policy(controls=(ControlPermission("anna", identities=IdentityNames(("anna",))),))


async def overlooked(world: World, command: ControlCommand) -> InstanceStore:
    """The release before knows nothing of it: it is there after the deployment was accepted."""
    store = InstanceStore(world.record, instance="host/1")
    assert (await store.control(command))[0] is ControlAnswer.KEPT
    kept = dict(world.record.early)
    world.record.early.clear()
    await world.accept()
    world.record.early.update(kept)
    return store


async def test_it_is_cancelled_all_the_same() -> None:
    world, meters = World(1), Counted()
    store = await overlooked(world, JOE)
    await EarlyCancels(store, world.rules, log=Lines(), meters=meters).obey()
    assert (world.row().state, len(meters.finished)) == (DeploymentState.CANCELLED, 1)
    assert world.record.early == {}


@pytest.mark.parametrize(
    ("asker", "state"),
    [
        (Asker.by_amqp("joe"), DeploymentState.PENDING),
        (Asker.by_amqp("anna"), DeploymentState.CANCELLED),
        (Asker(way="record"), DeploymentState.CANCELLED),
    ],
)
async def test_its_right_is_judged(asker: Asker, state: DeploymentState) -> None:
    world = World(1)
    world.rules.current = ANNA_ONLY
    store = await overlooked(world, replace(JOE, asker=asker))
    await EarlyCancels(store, world.rules, log=Lines(), meters=Counted()).obey()
    assert (world.row().state, world.record.early) == (state, {})
    outcome = "accepted" if state is DeploymentState.CANCELLED else "control.forbidden"
    assert [row.entry["outcome"] for row in world.record.audit if row.entry["command"]] == ["kept", outcome]


async def test_who_claims_it_begins_nothing() -> None:
    async with World(1) as world:
        await overlooked(world, JOE)
        world.instance()
        assert (await world.result())["status"] == "cancelled"
        assert world.told("target.started") == []
        assert world.hosts.begun("web1", "switch") == []
