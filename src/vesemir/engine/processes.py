"""Which HAProxy process each load balancer has, and when it was found to be another than before: a reload.

A reload leaves the old process to finish the sessions that it has. Nothing is heard of those any more, because the
runtime socket is the new process's; and the old one does not hear what that is told. So what was just drained in the
new process may still have requests of the old one, for as long as sessions may take to end.
"""

import time
from collections.abc import Sequence

from vesemir.engine.loadbalancer import LoadBalancer


class Processes:
    """Of one deployment. Times are those of ``time.monotonic``."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._replaced: dict[str, float] = {}

    async def look(self, boxes: Sequence[LoadBalancer]) -> tuple[int, ...]:
        """Ask each for its process id. Raises ``FailedError`` (``haproxy.unreachable``)."""
        ids = []
        for box in boxes:
            ids.append(await box.process_id())
            if self._known.setdefault(box.name, ids[-1]) != ids[-1]:
                self._known[box.name] = ids[-1]
                self._replaced[box.name] = time.monotonic()
        return tuple(ids)

    def recall(self, box: str, process_id: int) -> None:
        """What an earlier owner of the deployment was told; when it was replaced since, nobody knows."""
        if self._known.setdefault(box, process_id) != process_id:
            self._replaced.setdefault(box, time.monotonic())

    def unseen_until(self, box: str, seconds: float) -> float:
        """Until when sessions may be left that an old process has, if each ends within ``seconds``."""
        return self._replaced.get(box, float("-inf")) + seconds
