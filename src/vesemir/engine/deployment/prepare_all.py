"""All targets are prepared before the first of them begins (``rollout.prepare`` is ``all``).

``domain.preparation`` says which, how many at once, and what their failures mean.
"""

import asyncio
from collections.abc import Callable, Mapping

from vesemir.domain.preparation import Preparation
from vesemir.domain.rollout import Halt, Prepare, RolloutTally, Wait
from vesemir.engine.deployment.progress import StartedDeployment
from vesemir.engine.target.context import Deployment
from vesemir.engine.target.preparation import PreparationSession
from vesemir.engine.target.row import Row


async def prepared_before(started: StartedDeployment) -> frozenset[str] | None:
    """Targets that an earlier owner has prepared, by the recorded steps; None where each is prepared in its turn."""
    deployment, record = started.deployment, started.progress.record
    steps = frozenset(step.name for step in deployment.recipe.prepare)
    if deployment.request.rollout.prepare != "all" or not steps:
        return None
    if not record.started:
        return frozenset()
    done = await deployment.ports.store.succeeded_steps(record.deployment_id)
    return frozenset(name for name, found in done.items() if steps <= found)


class PrepareAll:
    """A part of one rollout: ``tally`` and ``rows`` are its own. ``on_end`` is called with each target that is
    prepared, has failed, or is left for the next owner. ``resumed``: an earlier owner may have begun with some."""

    def __init__(
        self,
        deployment: Deployment,
        rows: Mapping[str, Row],
        tally: RolloutTally,
        *,
        prepared: frozenset[str],
        resumed: bool,
        on_end: Callable[[Row], None],
    ) -> None:
        self._deployment = deployment
        self._rows = rows
        self._resumed = resumed
        self._on_end = on_end
        self._preparation = Preparation(tally, prepared=prepared, room=deployment.limits.sessions)
        for name, row in rows.items():
            row.prepared = name in prepared

    def next_move(self) -> Prepare | Wait | Halt | None:
        """None when it is over."""
        return self._preparation.next_move()

    @property
    def in_work(self) -> bool:
        return self._preparation.in_work > 0

    def begin(self, group: asyncio.TaskGroup, move: Prepare) -> None:
        for name in move.names:
            self._preparation.begin(name)
            group.create_task(self._one(self._rows[name]), name=f"prepare {name}")

    async def _one(self, row: Row) -> None:
        try:
            await PreparationSession(self._deployment, row, resumed=self._resumed).run()
        finally:
            self._preparation.end(row.name, done=row.prepared or row.finished)
            self._on_end(row)
