"""Servers that results left drained: looked at in HAProxy now and then, until somebody has put them back.

The next deployment would find out too, but it may come in a month, and until then people would be called for what they
repaired long ago. Only read: nothing here changes HAProxy. What cannot be read stays as the record has it, with when it
was seen last.
"""

import asyncio
from collections.abc import Sequence

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.engine.ports.load_balancer import LoadBalancer, LoadBalancers
from vesemir.engine.ports.observe import Log
from vesemir.engine.ports.store import DrainedServer, Store, StoreAwayError

LOOK_SECONDS = 30.0
"""For all load balancers of one server."""


class DrainedServers:
    """``watch`` for ever, looking every ``seconds``; with nothing left drained a look is one query."""

    def __init__(self, store: Store, balancers: LoadBalancers, *, log: Log, seconds: float) -> None:
        self._store = store
        self._balancers = balancers
        self._log = log
        self._seconds = seconds

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                for server in await self._store.left_drained():
                    await self._look(server)
            except StoreAwayError:
                continue  # the database's own state is shown elsewhere

    async def _look(self, server: DrainedServer) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._balancers.open(server.balancers) as boxes:
                back = await _in_traffic(server, boxes)
        except (FailedError, TimeoutError) as error:
            reason = error.failure.message if isinstance(error, FailedError) else "no answer in time"
            self._log.debug("{target} could not be looked at: {reason}", target=server.target, reason=reason)
            return
        except Exception:  # noqa: BLE001 - logged as the bug that it is; the service goes on
            self._log.exception("a bug while {target} was looked at in HAProxy", target=server.target)
            return
        if not back:
            await self._store.seen_drained(server)
        else:
            self._log.info(
                "{target} is not left drained any more", target=server.target, deployment_id=server.deployment_id
            )
            await self._store.seen_in_traffic(server)


async def _in_traffic(server: DrainedServer, boxes: Sequence[LoadBalancer]) -> bool:
    """Put back wherever the deployment had taken it out; where it is no longer known, nobody waits for it."""
    by_name = {box.name: box for box in boxes}
    for place, was in server.traffic.wanted.items():
        box = by_name.get(place.box)
        if box is None or was.is_taken_out:
            continue
        try:
            states = await box.servers(place.backend or server.backend)
        except FailedError as error:
            if error.failure.code is FailureCode.HAPROXY_UNKNOWN_SERVER:
                continue
            raise
        state = states.get(server.traffic.server)
        if state is not None and state.is_taken_out:
            return False
    return True
