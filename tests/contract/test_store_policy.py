"""The port to the record, on the fake and on PostgreSQL: what the policy asks, and how many may wait."""

from dataclasses import replace

from tests.contract.store_suite import a_deployment, claim, finish, store, stores
from tests.integration.postgres_server import postgres_server

from vesemir.domain.states import DeploymentState
from vesemir.engine.ports.changes import MoveDeployment
from vesemir.engine.ports.records import NewDeployment
from vesemir.engine.ports.store import Store

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
