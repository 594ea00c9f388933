"""What a try of a fault comes to: the record, the requester's events and what the boxes say, held together."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos import oracle
from tests.chaos.arena import RESULT_SECONDS, Arena, Deployment
from tests.chaos.requester import Seen


@dataclass
class Score:
    """One row of the table. Times are in seconds."""

    fault: str
    title: str
    tries: int = 0
    survived: int = 0
    events_lost: int = 0
    results_lost: int = 0
    doubled: int = 0
    run_again: int = 0
    redos: int = 0
    overlaps: int = 0
    recoveries: list[float] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def broken(self) -> bool:
        """Lost, run again and overlap must be 0, and every try must be survived."""
        counts = (self.events_lost, self.results_lost, self.doubled, self.run_again, self.overlaps)
        return any(counts) or self.survived < self.tries or self.tries == 0

    def add(self, other: "Score") -> None:
        for name in ("tries", "survived", "events_lost", "results_lost", "doubled", "run_again", "redos", "overlaps"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.recoveries += other.recoveries
        self.troubles += other.troubles
        self.seconds += other.seconds

    def recovery(self, share: float) -> float | None:
        """That share of the recoveries took no longer."""
        if not self.recoveries:
            return None
        ordered = sorted(self.recoveries)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class Try:
    """One blow. A fault says here which deployments to look at, whom it struck and when, and what it expected."""

    deployments: list[Deployment] = field(default_factory=list)
    struck: list[tuple[Deployment, float, str | None]] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    tries: int | None = None
    """How many tries this was: the deployments that were struck, unless it says otherwise."""

    def look_at(self, *deployments: Deployment, status: str = "succeeded") -> None:
        """Check these at the end; ``status`` is how they should end."""
        self.deployments += deployments
        self.statuses |= {deployment.id: status for deployment in deployments}

    def strike(self, *deployments: Deployment, until: str | None = None, at: float | None = None) -> None:
        """The fault is now, or its cause is gone now. Recovered with the first event after that, or that one."""
        moment = time.time() if at is None else at
        self.struck += [(deployment, moment, until) for deployment in deployments]

    def expect(self, condition: object, text: str) -> None:
        if not condition:
            self.troubles.append(text)


async def judged(score: Score, blow: Try, arena: Arena) -> None:
    """Wait for the results and add this try to the score."""
    for deployment in blow.deployments:
        with suppress(TimeoutError):
            await arena.result(deployment, seconds=RESULT_SECONDS)
    troubles = list(blow.troubles)
    for deployment in blow.deployments:
        troubles += await _check(score, blow, arena, deployment)
    for deployment, moment, name in blow.struck:
        taken = await _first_event(arena, deployment, moment, name)
        if taken is not None:
            blow.recoveries.append(taken - moment)
    for lane in {deployment.lane for deployment in blow.deployments}:
        overlaps = oracle.read([arena.lab.folder / "boxes" / box["name"] for box in arena.lab.boxes], lane).overlaps
        score.overlaps += overlaps
        if overlaps:
            troubles.append(f"{lane}: {overlaps} runs overlapped")
    tries = blow.tries if blow.tries is not None else max(1, len({each.id for each, _, _ in blow.struck}))
    score.tries += tries
    score.survived += tries if not troubles else 0
    score.recoveries += blow.recoveries
    score.troubles += troubles


async def _first_event(arena: Arena, deployment: Deployment, moment: float, name: str | None) -> float | None:
    found: float | None = await arena.record.fetchval(
        "SELECT extract(epoch FROM min(occurred_at))::float8 FROM event "
        "WHERE deployment_id = $1 AND extract(epoch FROM occurred_at) > $2 AND ($3::text IS NULL OR name = $3)",
        deployment.id, moment, name,
    )  # fmt: skip
    return found


async def _check(score: Score, blow: Try, arena: Arena, deployment: Deployment) -> list[str]:
    seen = [each for each in arena.requester.events(deployment.id) if each.body["sequence"] > 0]
    troubles = _check_events(score, deployment, seen)
    results = [each.body for each in seen if each.body["event"] == "deployment.finished"]
    if results and results[0]["status"] != blow.statuses[deployment.id]:
        failures = [target["failure"] for target in results[0]["targets"] if target["failure"]]
        said = f"{results[0]['status']} {results[0]['failure']} {failures}"
        troubles.append(f"{deployment.id} ended {said}, not {blow.statuses[deployment.id]}")
    state = await arena.record.fetchval("SELECT state FROM deployment WHERE deployment_id = $1", deployment.id)
    if results and results[0]["status"] != state:
        troubles.append(f"{deployment.id}: the record says {state}, the result {results[0]['status']}")
    return troubles + await _check_boxes(score, arena, deployment, expected=blow.statuses[deployment.id])


def _check_events(score: Score, deployment: Deployment, seen: Sequence[Seen]) -> list[str]:
    troubles = []
    ids: dict[int, set[str]] = {}
    first_seen: list[int] = []
    for each in seen:
        number = each.body["sequence"]
        if number not in ids:
            first_seen.append(number)
        ids.setdefault(number, set()).add(each.message_id)
    results = {each.body["sequence"] for each in seen if each.body["event"] == "deployment.finished"}
    if not results:
        score.results_lost += 1
        troubles.append(f"{deployment.id}: no result")
    doubled = sum(len(names) > 1 for names in ids.values()) + max(0, len(results) - 1)
    missing = sorted(set(range(1, max(ids, default=1) + 1)) - set(ids))
    score.doubled += doubled
    score.events_lost += len(missing)
    if doubled:
        troubles.append(f"{deployment.id}: {doubled} events under another message_id, results at {results}")
    if missing:
        troubles.append(f"{deployment.id}: events {missing} never came")
    if first_seen != sorted(first_seen):
        troubles.append(f"{deployment.id}: events came in the order {first_seen}")
    return troubles


async def _check_boxes(score: Score, arena: Arena, deployment: Deployment, *, expected: str) -> list[str]:
    """A target is run again if a run began after the record had it as finished, or had its step as succeeded."""
    troubles = []
    rows = await arena.record.fetch(
        "SELECT body->>'target' AS target, extract(epoch FROM min(occurred_at))::float8 AS at FROM event "
        "WHERE deployment_id = $1 AND (name = 'target.finished' OR "
        "(name = 'step.finished' AND body->>'step' = 'script' AND body->>'status' = 'succeeded')) GROUP BY 1",
        deployment.id,
    )
    finished = {row["target"]: row["at"] for row in rows}
    for box in deployment.boxes:
        runs = sorted((run for run in arena.runs(deployment) if run.box == box), key=lambda run: run.started)
        again = sum(run.started > finished.get(box, float("inf")) for run in runs)
        score.run_again += again
        score.redos += max(0, len(runs) - 1 - again)
        if again:
            troubles.append(f"{deployment.id}: {box} was run {again} times after it had finished")
        if expected == "succeeded" and not any(run.ended for run in runs):
            troubles.append(f"{deployment.id}: no run ended on {box}")
        if sorted(run.epoch for run in runs) != [run.epoch for run in runs]:
            troubles.append(f"{deployment.id}: an older epoch ran later on {box}")
    return troubles
