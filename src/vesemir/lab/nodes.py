"""The nodes of a lab with ``--ha``: stopped, started again, cut off and joined again, and a standby made the primary.

How each was started is kept in ``nodes.json``. What a partition is differs: a RabbitMQ node loses the other nodes and
keeps its clients, as in a split network; a PostgreSQL is frozen, so that it answers nobody, and nothing closes.
"""

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesemir.lab import proc
from vesemir.lab.documents import read_lab, write_private
from vesemir.lab.node_programs import program_of
from vesemir.lab.places import LabError, Places
from vesemir.lab.postgres import takes_connections
from vesemir.lab.rabbitmq import speaks_amqp
from vesemir.lab.readiness import until
from vesemir.lab.roster import Roster, RosterProgram, tail
from vesemir.lab.topology import LabTopology

_START_SECONDS = 90.0
_STOP_SECONDS = 60.0
_CONTROL_SECONDS = 60.0
_PROMOTE_SECONDS = 60.0
_CUT = (
    "Cut = [begin erlang:set_cookie(Node, cut), erlang:disconnect_node(Node), Node end || Node <- ["
    "{others}]], length(Cut)."
)
"""erlang:set_cookie(Node, Cookie) is for one peer: neither may log in to the other then, and both keep the rest."""
_HEAL = "Back = [erlang:set_cookie(Node, erlang:get_cookie()) || Node <- [{others}]], length(Back)."


def nodes_json(topology: LabTopology, roster: Roster) -> dict[str, list[dict[str, Any]]]:
    """Contract section 7: where the nodes are; nothing for a lab without several."""
    pids = {entry.name: entry.pid for entry in roster.entries}
    kinds = {"rabbitmq_nodes": topology.brokers, "postgres_nodes": topology.databases}
    return {
        kind: [
            {
                "name": node.name,
                "address": node.address,
                "port": node.port,
                "pid": pids[node.name],
                "data": str(node.data),
            }
            for node in nodes
        ]
        for kind, nodes in kinds.items()
        if nodes
    }


@dataclass(frozen=True, slots=True)
class LabNodes:
    """The nodes of a lab that is up."""

    places: Places
    lab: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> "LabNodes":
        """Raises ``LabError`` for a lab that has none."""
        places = Places.of(folder, token="")
        lab = read_lab(places)
        if "rabbitmq_nodes" not in lab:
            raise LabError(f"the lab in {places.folder} has no nodes: start one with `vesemir lab up --ha`")
        return cls(places, lab)

    def node(self, name: str) -> Mapping[str, Any]:
        """Raises ``LabError`` for one that is not there."""
        nodes = [*self.lab["rabbitmq_nodes"], *self.lab["postgres_nodes"]]
        for node in nodes:
            if node["name"] == name:
                return dict(node)
        raise LabError(f"there is no node {name}; there are: {', '.join(str(node['name']) for node in nodes)}")

    def is_broker(self, name: str) -> bool:
        return any(node["name"] == name for node in self.lab["rabbitmq_nodes"])

    async def stop(self, name: str) -> None:
        """End it in good order; returns when it has ended."""
        node = self.node(name)
        how = signal.SIGTERM if self.is_broker(name) else signal.SIGINT
        members = _family(int(node["pid"]))
        for pid in (int(node["pid"]), *members):
            _signal(pid, signal.SIGCONT)
        _signal(int(node["pid"]), how)
        async with asyncio.timeout(_STOP_SECONDS):
            while any(_runs(pid) for pid in members):  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # no children of ours, so nothing tells of their end

    async def start(self, name: str) -> None:
        """Start it as before; returns when it takes clients.

        A broker that was the last to stop is waited for by the others: after all were stopped, start them side by side.
        """
        node = self.node(name)
        if _runs(int(node["pid"])):
            raise LabError(f"{name} runs already (process {node['pid']})")
        program = program_of(self.places, name)
        with self.places.locked():
            roster = Roster.read(self.places.processes)
            if roster is None:
                raise LabError(f"no lab is up in {self.places.folder}")
            roster.entries = [entry for entry in roster.entries if entry.name != name]
            _clear(node)
            (child,) = roster.start([program])
            self._say_pid(name, child.pid)
        question = (speaks_amqp if self.is_broker(name) else takes_connections)(node["address"], node["port"])
        await until(question, what=name, child=child, log=program.log, timeout=_START_SECONDS)

    async def partition(self, name: str) -> None:
        """Cut it off: a broker from the other nodes, a PostgreSQL from everybody."""
        if self.is_broker(name):
            await self._eval(name, _CUT)
            return
        for pid in _family(int(self.node(name)["pid"])):
            _signal(pid, signal.SIGSTOP)

    async def heal(self, name: str) -> None:
        """End ``partition``."""
        if self.is_broker(name):
            await self._eval(name, _HEAL)
            return
        for pid in _family(int(self.node(name)["pid"])):
            _signal(pid, signal.SIGCONT)

    async def promote(self) -> str:
        """Make the standby the primary, whatever becomes of the primary; its name."""
        for node in self.lab["postgres_nodes"]:
            if (Path(node["data"]) / "standby.signal").exists():
                program = program_of(self.places, node["name"])
                promote = Path(program.argv[0]).with_name("pg_ctl")
                words = [str(promote), "promote", "--wait", f"--timeout={_PROMOTE_SECONDS:.0f}", "-D", program.argv[2]]
                await _run(program, words, timeout=_PROMOTE_SECONDS + 10)
                return str(node["name"])
        raise LabError("there is no standby any more: it has been promoted already")

    async def control(self, name: str, *words: str) -> str:
        """``rabbitmqctl`` of a node; what it printed."""
        program = program_of(self.places, name)
        rabbitmqctl = Path(program.argv[0]).with_name("rabbitmqctl")
        return await _run(program, [str(rabbitmqctl), *words], timeout=_CONTROL_SECONDS)

    async def _eval(self, name: str, expression: str) -> None:
        others = ", ".join(f"'{node['name']}@localhost'" for node in self.lab["rabbitmq_nodes"] if node["name"] != name)
        await self.control(name, "eval", expression.format(others=others))

    def _say_pid(self, name: str, pid: int) -> None:
        """In ``lab.json`` as it is now: other nodes may be started at the same time."""
        self.lab.update(read_lab(self.places))
        for kind in ("rabbitmq_nodes", "postgres_nodes"):
            for node in self.lab[kind]:
                if node["name"] == name:
                    node["pid"] = pid
        write_private(self.places.lab_json, json.dumps(self.lab, indent=2) + "\n")


def _clear(node: Mapping[str, Any]) -> None:
    """A PostgreSQL that was killed leaves a file that names a process; another may have that id by now."""
    with suppress(OSError):
        (Path(node["data"]) / "postmaster.pid").unlink()


def _family(pid: int) -> set[int]:
    return proc.family({pid}, proc.everyone())


def _runs(pid: int) -> bool:
    seen = proc.look(pid)
    return seen is not None and not seen.dead


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


async def _run(program: RosterProgram, words: Sequence[str], *, timeout: float) -> str:
    """A tool of the node's, as its account and in its environment; what it printed."""
    account = program.account
    child = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(program.environment),
        cwd=program.cwd,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else account.groups,
    )
    try:
        async with asyncio.timeout(timeout):
            printed, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        raise LabError(f"{Path(words[0]).name} {words[1]} did not end within {timeout:.0f} s") from None
    text = printed.decode(errors="replace")
    if child.returncode != 0:
        raise LabError(f"{Path(words[0]).name} {words[1]} failed: {text.strip() or tail(program.log)}")
    return text
