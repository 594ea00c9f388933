"""What the goals share in one run: a lab's broker and database, a farm of hosts, a cheap server, the peers."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.servers import Lab, lab_up

from benchmarks.cheap import ADDRESS
from benchmarks.farm import Farm
from benchmarks.peers import PEERS, Job, Peer
from benchmarks.processes import Usage, run_measured
from benchmarks.product import COMMAND, Product, inventory_text

PEER_SECONDS = 300.0
PEER_TRIES = 3
HOSTS = 1000


@dataclass(frozen=True, slots=True)
class CheapHosts:
    """Any number of hosts at one address."""

    folder: Path
    port: int


@dataclass(slots=True)
class Bench:
    """``rounds`` of each comparison, interleaved: every program once, then every program again."""

    folder: Path
    rounds: int
    lab: Lab
    farm: Farm
    _bins: dict[str, Path]

    @classmethod
    @asynccontextmanager
    async def up(cls, folder: Path, *, peers: Path, rounds: int) -> AsyncIterator["Bench"]:
        (folder / "jobs").mkdir(parents=True, exist_ok=True)
        bins = {peer.package: peer.installed(peers) for peer in PEERS}
        async with lab_up(folder / "lab", boxes=1) as lab:
            with Farm.up(folder / "farm", HOSTS) as farm:
                yield cls(folder, rounds, lab, farm, bins)

    def on_farm(self, *groups: int, **settings: str) -> "AbstractAsyncContextManager[Product]":
        """Instances that know the first hosts of the farm."""
        farm, most = self.farm, max(groups)
        inventory = inventory_text(
            farm.names[:most], farm.addresses[:most], farm.port, groups, state=farm.folder / "state"
        )
        return self._product(farm.folder, inventory, settings)

    def on_cheap(
        self, cheap: CheapHosts, *groups: int, instances: int = 1, command: Sequence[str] = (COMMAND, "run")
    ) -> "AbstractAsyncContextManager[Product]":
        names = [f"host{number:04d}" for number in range(max(groups))]
        inventory = inventory_text(names, [ADDRESS] * len(names), cheap.port, groups, state=Path("/nowhere"))
        return self._product(cheap.folder, inventory, {}, instances=instances, command=command)

    def _product(
        self,
        keys: Path,
        inventory: str,
        settings: Mapping[str, str],
        *,
        instances: int = 1,
        command: Sequence[str] = (COMMAND, "run"),
    ) -> "AbstractAsyncContextManager[Product]":
        ssh = {
            "VESEMIR_SSH__CLIENT_KEY": str(keys / "client_key"),
            "VESEMIR_SSH__KNOWN_HOSTS": str(keys / "known_hosts"),
            "VESEMIR_SSH__USER": "root",
        }
        return Product.running(
            self.lab,
            self.folder / "product",
            inventory=inventory,
            settings={**ssh, **settings},
            instances=instances,
            command=command,
        )

    @contextmanager
    def cheap(self) -> Iterator[CheapHosts]:
        folder = self.folder / "cheap"
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        words = [sys.executable, "-m", "benchmarks.cheap", str(folder)]
        with (folder / "log").open("wb") as log, subprocess.Popen(words, stdin=subprocess.PIPE, stderr=log) as server:
            try:
                while not (folder / "port").exists():
                    if server.poll() is not None:
                        raise RuntimeError(f"the cheap server ended: {(folder / 'log').read_text()}")
                    time.sleep(0.02)
                yield CheapHosts(folder, int((folder / "port").read_text()))
            finally:
                assert server.stdin is not None
                server.stdin.close()
                server.wait(30)

    async def peer(self, peer: Peer, count: int, *, steps: int) -> tuple[Usage, float, int]:
        """Run it until it did all of its work; the CPU that the hosts took for that, and how often it failed before.

        Raises ``RuntimeError`` if it never did.
        """
        for failures in range(PEER_TRIES):
            usage, hosts = await self._peer_once(peer, count, steps)
            if usage.status == 0:
                return usage, hosts, failures
        raise RuntimeError(f"{peer.name} failed {PEER_TRIES} times on {count} hosts: {usage.output[-2000:]}")

    async def _peer_once(self, peer: Peer, count: int, steps: int) -> tuple[Usage, float]:
        job = Job(self.farm, count, steps, self.folder / "jobs")
        environment = {**os.environ, "HOME": str(job.folder), **peer.environment(job)}
        before = self.farm.cpu()
        words = peer.words(job, self._bins[peer.package])
        usage = await asyncio.to_thread(run_measured, words, environment=environment, seconds=PEER_SECONDS)
        self.farm.wait_quiet()
        return usage, self.farm.cpu() - before

    async def layer(self, count: int, *, what: str) -> tuple[Usage, float]:
        """Our SSH layer alone: ``login`` or ``true`` on so many hosts, in a process of its own."""
        farm = self.farm
        words = [
            sys.executable, "-m", "benchmarks.layer", what, Job(farm, count, 1, self.folder / "jobs").hosts_file(),
            str(farm.port), str(farm.client_key), str(farm.known_hosts),
        ]  # fmt: skip
        before = farm.cpu()
        usage = await asyncio.to_thread(run_measured, words, environment=os.environ, seconds=PEER_SECONDS)
        farm.wait_quiet()
        if usage.status != 0:
            raise RuntimeError(f"our SSH layer failed on {count} hosts: {usage.output[-2000:]}")
        return usage, farm.cpu() - before


def named(name: str) -> Peer:
    return next(peer for peer in PEERS if peer.name == name)
