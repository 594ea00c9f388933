"""Which HAProxy process each load balancer has, and since when: a reload starts another.

A reload leaves the old process to finish the sessions that it has. Nothing is heard of those any more, because the
runtime socket is the new process's; and the old one does not hear what that is told. So what was just drained in the
new process may still have requests of the old one, for as long as sessions may take to end. And what the old process
was told between the dump of its state and its end, the new one does not know.
"""

from collections.abc import Iterable, Sequence

from vesemir.engine.clock import loop_time
from vesemir.engine.ports.load_balancer import LoadBalancer


class Processes:
    """Of one deployment. Times are the event loop's; a process may have started a second before its time."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._started: dict[str, float] = {}
        self._replaced: set[str] = set()
        self.looked = float("-inf")
        """When all were asked last."""

    async def look(self, boxes: Sequence[LoadBalancer]) -> tuple[int, ...]:
        """Ask each for its process id. Raises ``FailedError`` (``haproxy.unreachable``)."""
        ids, began = [], loop_time()
        for box in boxes:
            process = await box.process()
            ids.append(process.process_id)
            if self._known.get(box.name) != process.process_id or box.name not in self._started:
                self._started[box.name] = loop_time() - process.age_seconds
            if self._known.setdefault(box.name, process.process_id) != process.process_id:
                self._known[box.name] = process.process_id
                self._replaced.add(box.name)
        self.looked = began
        return tuple(ids)

    def recall(self, box: str, process_id: int) -> None:
        """What an earlier owner of the deployment was told."""
        if self._known.setdefault(box, process_id) != process_id:
            self._replaced.add(box)

    def unseen_until(self, box: str, seconds: float) -> float:
        """Until when sessions may be left that an old process has, if each ends within ``seconds``."""
        return self._started[box] + seconds if box in self._replaced else float("-inf")

    def replaced_within(self, boxes: Iterable[LoadBalancer], since: float, until: float) -> bool:
        """Whether a process of one of them, as seen last, started in that time."""
        return any(since <= self._started.get(box.name, float("-inf")) <= until for box in boxes)
