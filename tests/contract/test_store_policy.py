"""The port to the record, on the fake and on PostgreSQL: what the policy asks, and how many may wait."""

import asyncio
from dataclasses import replace
from typing import Any

from tests.contract.store_suite import QUEUE, Stores, a_deployment, claim, finish, store, stores
from tests.integration.postgres_server import postgres_server

from vesemir.domain.identity import UNPROVED, Asker
from vesemir.domain.names import Names
from vesemir.domain.permission import PermissionScope
from vesemir.domain.policy import Policy
from vesemir.domain.quota import Quota, TooManyWaiting, Waiting
from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.changes import MoveDeployment
from vesemir.engine.ports.records import NewDeployment
from vesemir.engine.ports.store import AcceptKind, Store

__all__ = ["postgres_server", "store", "stores"]


def staged(
    name: str,
    artifact: str | None = "aa",
    *,
    version: str = "2.0.0",
    environment: str = "staging",
    dry_run: bool = False,
) -> NewDeployment:
    parameters = {} if artifact is None else {"artifact_sha256": artifact}
    new = a_deployment(name)
    request = {**new.request, "parameters": parameters, **({"dry_run": True} if dry_run else {})}
    return replace(new, version=version, environment=environment, request=request)


async def succeeded(store: Store, new: NewDeployment) -> None:
    await store.accept(new, None)
    await finish(store, await claim(store))


async def test_what_brought_a_version_somewhere_is_known_by_its_artifact(store: Store) -> None:
    for new in (
        staged("first"),
        staged("again"),
        staged("other", "bb"),
        staged("without", None),
        staged("dry", "cc", dry_run=True),
        staged("older", version="1.0.0"),
        staged("test", "dd", environment="test"),
        staged("elsewhere", environment="production"),
        replace(staged("blog"), application="blog"),
    ):
        await succeeded(store, new)
    found = await store.successes("shop", "2.0.0", ["staging", "test"])
    assert {(each.environment, each.deployment_id, each.artifact) for each in found} == {
        ("staging", "first", "aa"),
        ("staging", "other", "bb"),
        ("staging", "without", None),
        ("test", "test", "dd"),
    }
    assert all(0 <= each.seconds_ago < 600 for each in found)
    assert await store.successes("shop", "2.0.0", ["nowhere"]) == []


async def test_what_failed_or_has_not_ended_brought_nothing(store: Store) -> None:
    await store.accept(staged("failed"), None)
    await store.commit(await claim(store), [MoveDeployment(DeploymentState.RUNNING, DeploymentState.FAILED)])
    await store.accept(staged("runs"), None)
    await claim(store)
    await store.accept(staged("waits"), None)
    assert await store.successes("shop", "2.0.0", ["staging"]) == []


# --- how many may wait ------------------------------------------------------------------------------------------------

FEW = Quota("few", PermissionScope(environments=Names(("production",))), max_waiting=3)


def limited(name: str, *quotas: Quota, **more: Any) -> NewDeployment:
    new = replace(a_deployment(name), **more)
    return replace(new, quotas=Policy(quotas=quotas).waiting_quotas(new, new.asker))


async def test_more_than_a_quota_may_wait_are_not_accepted_and_leave_no_trace(store: Store) -> None:
    for number in range(3):
        assert await store.accept(limited(f"d{number}", FEW), None) is AcceptKind.ACCEPTED
    answer = await store.accept(limited("more", FEW), QUEUE)
    assert isinstance(answer, TooManyWaiting)
    assert (answer.waiting, answer.quota.most, answer.quota.rule) == (3, 3, "few")
    assert await store.load("more") is None
    assert await store.known("more") is None
    assert await store.accept(limited("elsewhere", FEW, environment="staging"), None) is AcceptKind.ACCEPTED
    assert await store.accept(limited("other", FEW, asker=Asker.by_amqp("anna")), None) is AcceptKind.ACCEPTED
    assert await store.accept(limited("d0", FEW), QUEUE) is AcceptKind.REPEATED
    await claim(store)
    assert await store.accept(limited("more", FEW), QUEUE) is AcceptKind.ACCEPTED


async def test_an_application_has_one_quota_for_all_and_nobody_has_one_together(store: Store) -> None:
    shop = Quota("shop", per="application", max_waiting=2)
    assert await store.accept(limited("d1", shop), None) is AcceptKind.ACCEPTED
    assert await store.accept(limited("d2", shop, asker=UNPROVED, environment="test"), None) is AcceptKind.ACCEPTED
    assert isinstance(await store.accept(limited("d3", shop, asker=Asker.by_amqp("anna")), None), TooManyWaiting)
    assert await store.accept(limited("d4", shop, application="blog"), None) is AcceptKind.ACCEPTED
    nobody = Quota("nobody", max_waiting=1)
    full = await store.accept(limited("d5", nobody, asker=UNPROVED, application="x"), None)
    assert isinstance(full, TooManyWaiting)
    assert full.quota.holder == "without an identity"
    (quota,) = limited("d6", nobody, asker=UNPROVED).quotas
    assert (Waiting("", "shop", "test"), 1) in await store.waiting([quota])


async def test_many_at_once_on_several_instances_do_not_pass_it(stores: Stores) -> None:
    instances = [await stores(f"{name}/1") for name in "abc"]
    answers = await asyncio.gather(
        *(
            instances[number % 3].accept(limited(f"d{number}", FEW, application=f"app{number % 5}"), None)
            for number in range(60)
        )
    )
    assert sum(answer is AcceptKind.ACCEPTED for answer in answers) == 3
    assert sum(isinstance(answer, TooManyWaiting) for answer in answers) == 57


async def test_the_same_event_twice_at_once_is_one(store: Store) -> None:
    """Whether it may wait or not."""
    await store.accept(limited("d1", FEW), None)
    await store.accept(limited("d2", FEW), None)
    twice = await asyncio.gather(*(store.accept(limited(name, FEW), None) for name in ("d3", "d3", "d4", "d4")))
    assert twice[:2] == [AcceptKind.ACCEPTED, AcceptKind.REPEATED]
    assert all(isinstance(answer, TooManyWaiting) for answer in twice[2:])
