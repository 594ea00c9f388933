"""Many events of one requester do not hold up another's: claims go round identities (contract 2).

300 of them in script/test, 3,000 in `tox -e fairness`.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from datetime import datetime

import asyncpg
import pytest
from tests.acceptance.amqp_users import connected, users
from tests.acceptance.installed_lab import Lab
from tests.acceptance.patience import until
from tests.acceptance.running_daemon import Daemon
from tests.chaos.servers import Lab as LabServers

pytestmark = pytest.mark.lab

CROWD = int(os.environ.get("VESEMIR_TEST_CROWD", "300"))
LANES = CROWD // 10
SECONDS = 5.0


async def accepted(record: str) -> int:
    connection = await asyncpg.connect(record)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM deployment"))
    finally:
        await connection.close()


def test_one_event_beside_many_of_another_identity_begins_within_5_s(lab: Lab, daemon: Callable[..., Daemon]) -> None:
    """In a record and queues of its own, which end with the test: most of the crowd never begin."""
    namespace = f"fair{secrets.token_hex(3)}"
    record = asyncio.run(LabServers(lab.folder, dict(lab)).new_database())
    few = {"VESEMIR_LIMITS__DEPLOYMENTS": "3"}  # most of two cores is for taking the events
    daemon("one", VESEMIR_AMQP__NAMESPACE=namespace, VESEMIR_POSTGRES__DSN=record, **few)
    pattern = lab.script("true", "web1")
    queue = f"{namespace}.deployments"
    with (
        users(lab, ("crowd", "small")) as names,
        connected(lab, names["crowd"]) as crowd,
        connected(lab, names["small"]) as small,
    ):
        crowd.publish_many(
            (
                {**pattern, "deployment_id": f"{namespace}-{number}", "application": f"crowd-{number % LANES}"}
                for number in range(CROWD)
            ),
            queue=queue,
        )
        until(lambda: asyncio.run(accepted(record)) == CROWD, what="all of the crowd are accepted", seconds=120)
        asked = time.time()
        name = f"{namespace}-small"
        small.publish({**pattern, "deployment_id": name, "application": "small"}, queue=queue)
        begun = datetime.fromisoformat(small.event(name, "deployment.started")["occurred_at"]).timestamp()
        crowd.wait(lambda: crowd.replies, "an event of the crowd")
        ended = sum(each.event == "deployment.finished" for each in crowd.replies)
    assert begun - asked < SECONDS, f"begun after {begun - asked:.1f} s"
    assert ended < CROWD / 2, "the crowd was done by then, so nothing is shown"
