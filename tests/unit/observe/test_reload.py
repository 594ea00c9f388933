"""SIGHUP: what changed is read, what cannot be read stays, and systemd hears of both ends."""

import asyncio
from collections.abc import Callable

from tests.unit.engine.world import Lines

from vesemir.adapters.reloaded_files import FileWatch
from vesemir.adapters.systemd import Notifier
from vesemir.engine.upkeep.health import HealthRegistry, PartState
from vesemir.reload import Reload


class Heard(Notifier):
    """What systemd would hear; ``done`` is called at READY."""

    def __init__(self, done: Callable[[], None]) -> None:
        super().__init__(None, log=Lines())
        self.words: list[str] = []
        self._done = done

    def notify(self, state: str) -> None:
        self.words.append(state)
        if state.startswith("READY=1"):
            self._done()


class OneFile:
    """Counts how often it was read."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem
        self.reads = 0

    def refresh(self) -> None:
        self.reads += 1


async def test_a_reload_reads_every_part_and_names_what_stays_as_it_was() -> None:
    good, broken, health, log = OneFile(), OneFile("policy.toml:1: is not valid TOML"), HealthRegistry(), Lines()
    ready = asyncio.Event()
    systemd = Heard(ready.set)
    reload = Reload(FileWatch({"recipes": good, "policy": broken}, health, log=log), systemd=systemd, log=log)
    task = asyncio.create_task(reload.run())
    reload.ask()
    reload.ask()
    async with asyncio.timeout(5):
        await ready.wait()
    assert good.reads == 1
    states = {part.name: part.state for part in health.parts}
    assert states == {"recipes": PartState.UP, "policy": PartState.DOWN}
    broken.problem = ""
    ready.clear()
    reload.ask()
    async with asyncio.timeout(5):
        await ready.wait()
    assert systemd.words[0].startswith("RELOADING=1")
    assert systemd.words[1::2] == [
        "READY=1\nSTATUS=reloaded; reload 1: policy stays as it was: policy.toml:1: is not valid TOML",
        "READY=1\nSTATUS=reloaded; reload 2: all was read",
    ]
    assert log.of("error") == ["reload: policy stays as it was: policy.toml:1: is not valid TOML"]
    assert log.of("info") == ["reloaded (SIGHUP): recipes", "reloaded (SIGHUP): recipes, policy"]
    assert {part.name: part.state for part in health.parts} == dict.fromkeys(("recipes", "policy"), PartState.UP)
    task.cancel()
