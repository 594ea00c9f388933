"""The servers of the lab's HAProxy, as its runtime socket shows them all the while."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tests.acceptance.installed_lab import Lab

LOOK_SECONDS = 0.05
SHOWN = ("srv_op_state", "srv_admin_state", "srv_uweight", "srv_agent_state")
IN_TRAFFIC = {"srv_op_state": "2", "srv_admin_state": "0", "srv_uweight": "100"}
"""UP, not forced by anybody, all of its weight (management guide, ``show servers state``)."""
RUNNING = 0x01
"""The bit of ``srv_agent_state`` that is set while the agent is just being asked."""

States = Mapping[str, Mapping[str, str]]


def states(lab: Lab) -> States:
    """Each server with what is compared of it."""
    lines = lab.haproxy(f"show servers state {lab['backend']}").splitlines()
    header = next(line.removeprefix("# ").split() for line in lines if line.startswith("# "))
    rows = [dict(zip(header, line.split(), strict=True)) for line in lines if len(line.split()) == len(header)]
    for row in rows:
        row["srv_agent_state"] = str(int(row["srv_agent_state"]) & ~RUNNING)
    return {row["srv_name"]: {name: row[name] for name in SHOWN} for row in rows}


def wrong(shown: States) -> dict[str, Mapping[str, str]]:
    """The servers that do not serve with all of their weight."""
    return {name: state for name, state in shown.items() if IN_TRAFFIC.items() - state.items()}


@dataclass
class Watch:
    """``most_out``: servers that were taken out at the same moment; ``fewest_up``: that served at the same moment."""

    most_out: int = 0
    fewest_up: int = 1_000
    looks: int = 0

    def see(self, shown: States) -> None:
        self.looks += 1
        self.most_out = max(self.most_out, sum(state["srv_admin_state"] != "0" for state in shown.values()))
        self.fewest_up = min(self.fewest_up, len(shown) - len(wrong(shown)))


@asynccontextmanager
async def watched(lab: Lab) -> AsyncIterator[Watch]:
    """While the block lasts."""
    watch = Watch()

    async def look() -> None:
        while True:
            with suppress(OSError):
                watch.see(await asyncio.to_thread(states, lab))
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.wait([looking])
