"""A deployment on its way forward: batches, failures allowed, numbers, its lane and its time."""

import asyncio
from collections import Counter

import pytest
from tests.fakes.hosts import HANGS, failed
from tests.unit.engine.deployment.situations import now
from tests.unit.engine.world import one_instance


async def test_batches_one_after_the_other() -> None:
    async with one_instance(5) as world:
        await world.accept(rollout={"concurrency": 2, "canary": 1, "pause_seconds": 50})
        result = await world.result()
        assert result["status"] == "succeeded"
        assert world.told("deployment.started")[0]["batches"] == [["web1"], ["web2", "web3"], ["web4", "web5"]]
        assert world.hosts.most_running == 2
        assert 109 < now() < 111
        assert [event["batch"] for event in world.told("target.started")] == [1, 2, 2, 3, 3]


async def test_the_log_tells_what_support_looks_for() -> None:
    async with one_instance(13) as world:
        world.hosts.steps["web13:switch"] = failed(3, b"no space left\n")
        await world.accept(traffic=True, rollout={"concurrency": 12, "canary": 1, "min_available": 0})
        await world.result()
        await asyncio.sleep(1)
        said = world.instances[0].log
        told = [line for line in said.of("info") if not line.startswith(("begins", "out of", "back in", "finished"))]
        assert told == [
            "claimed after 0.0 s in the queue",
            "resolved 13 targets in 0.00 s; 2 batches",
            "batch 1 begins with web1",
            "batch 2 begins with web2, web3, web4, web5, web6, web7, web8, web9, web10, web11 and 2 more",
        ]
        of_targets = Counter(line.split(" after")[0].split(" in ")[0] for line in said.of("info") if line not in told)
        assert of_targets == {"begins": 13, "out of traffic": 13, "back": 12, "finished: succeeded": 12}
        failed_target, whole = said.of("warning")
        assert failed_target.startswith("finished: failed in ")
        assert "exit status 3; its last line: no space left" in failed_target
        assert whole.startswith("finished: failed, 12 of 13 targets in ")


async def test_the_numbers_of_a_result() -> None:
    async with one_instance(3) as world:
        world.hosts.steps["web2:switch"] = failed(1, b"x" * 10_000)
        await world.accept(rollout={"max_failures": 0})
        metrics = (await world.result())["metrics"]
        counts = {name: metrics[f"targets_{name}"] for name in ("total", "succeeded", "failed", "skipped")}
        assert counts == {"total": 3, "succeeded": 1, "failed": 1, "skipped": 1}
        assert (metrics["steps_total"], metrics["output_bytes"]) == (5, 10_000)
        assert (metrics["target_seconds_p50"], metrics["target_seconds_max"]) == (2.0, 3.0)
        assert metrics["ssh_connect_seconds_max"] == 0.01
        assert world.told("step.finished")[-1]["output_truncated"]
        assert world.told("deployment.finished")[0]["failure"]["code"] == "rollout.too_many_failures"


async def test_what_failed_beyond_what_is_allowed_stops_the_others() -> None:
    async with one_instance(4) as world:
        world.hosts.steps["switch"] = failed(1)
        await world.accept(rollout={"max_failures": 1})
        await world.result()
        assert list(world.statuses().values()) == ["failed", "failed", "skipped", "skipped"]


async def test_a_lane_has_one_deployment_at_a_time_in_order() -> None:
    async with one_instance(1) as world:
        await world.accept("d1")
        await world.accept("d2")
        await world.accept("d3", application="till")
        for name in ("d1", "d2", "d3"):
            assert (await world.result(name))["status"] == "succeeded"
        lane = [(call.key.deployment_id, call.key.step) for call in world.hosts.calls if call.key]
        assert [each for each in lane if each[0] != "d3"] == [
            (name, step) for name in ("d1", "d2") for step in ("unpack", "switch", "verify")
        ]
        assert world.told("deployment.finished", "d2")[0]["metrics"]["queued_seconds"] == pytest.approx(3, abs=0.1)


async def test_the_deployments_own_time_ends_it() -> None:
    async with one_instance(3) as world:
        world.hosts.steps["web2:switch"] = HANGS
        await world.accept(traffic=True, timeouts={"deployment": 60})
        result = await world.result()
        assert (result["status"], result["failure"]["code"]) == ("timed_out", "deployment.timed_out")
        assert world.statuses() == {"web1": "succeeded", "web2": "timed_out", "web3": "skipped"}
        assert 60 < now() < 61
