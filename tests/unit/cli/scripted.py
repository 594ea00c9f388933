"""Stands in for RabbitMQ and an instance: what is published is kept, and what comes back was written down before."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from vesemir.adapters.amqp.requester import Reply
from vesemir.settings import AmqpSettings

Json = dict[str, Any]
ID = "d-1"
COMMON = {"deployment_id": ID, "application": "shop", "environment": "production", "version": "2.0.0"}


def event(name: str, sequence: int, **rest: Any) -> Json:
    """An event of deployment ``d-1``."""
    moment = f"2026-11-23T12:00:{sequence:02d}.000000Z"
    return {"event": name, "sequence": sequence, "occurred_at": moment, "instance": "a/1", **COMMON, **rest}


def failure(code: str = "step.failed", message: str = "step restart ended with 1") -> Json:
    return {"code": code, "message": message, "runbook": f"docs/runbook.md#{code.replace('.', '-').replace('_', '-')}"}


ACCEPTED = event("deployment.accepted", 1, position=0)
STARTED = event(
    "deployment.started",
    2,
    targets=[{"name": "web1", "address": "10.0.0.1"}, {"name": "web2", "address": "10.0.0.2"}],
    batches=[["web1"], ["web2"]],
)
WEB1_STARTED = event("target.started", 3, target="web1", batch=1, direction="forward")
WEB1_STEP = event(
    "step.finished", 4, target="web1", step="unpack", status="succeeded", exit_status=0, duration_seconds=0.4,
    output="", output_truncated=False,
)  # fmt: skip
WEB1_FINISHED = event(
    "target.finished", 5, target="web1", direction="forward", status="succeeded", failure=None, duration_seconds=2.5
)


def finished(status: str = "succeeded", sequence: int = 6, *, told: Json | None = None, **rest: Any) -> Json:
    """``deployment.finished`` with web1 succeeded; web2 too, unless the deployment did not."""
    second = "succeeded" if status == "succeeded" else "failed"
    return event(
        "deployment.finished",
        sequence,
        status=status,
        failure=told,
        targets=[
            {"name": "web1", "address": "10.0.0.1", "status": "succeeded", "failure": None, "duration_seconds": 2.5},
            {
                "name": "web2", "address": "10.0.0.2", "status": second, "duration_seconds": 3.0,
                "failure": failure() if second == "failed" else None,
            },
        ],
        metrics={
            "duration_seconds": 5.5, "targets_total": 2, "targets_succeeded": 2 if second == "succeeded" else 1,
            "targets_rolled_back": 0,
        },
        **rest,
    )  # fmt: skip


@dataclass(slots=True)
class Script:
    """What each connection gets: events, and at its end an exception to raise (or silence, for ever)."""

    connections: Sequence[Sequence[Json | BaseException]]
    published: list[bytes] = field(default_factory=list)
    connected: int = 0


class ScriptedRequester:
    """The part of ``Requester`` that commands use."""

    script: Script

    def __init__(self, answers: Sequence[Json | BaseException]) -> None:
        self._answers = answers
        self._correlation_id = ""

    @classmethod
    @asynccontextmanager
    async def connected(cls, settings: AmqpSettings, *, name: str) -> AsyncIterator[Self]:
        del settings, name
        script = cls.script
        answers = script.connections[script.connected]
        script.connected += 1
        if answers and isinstance(answers[0], BaseException) and not script.published:
            raise answers[0]
        yield cls(answers)

    async def deploy(self, body: bytes, *, correlation_id: str) -> None:
        self.script.published.append(body)
        self._correlation_id = correlation_id

    control = deploy

    async def replies(self) -> AsyncIterator[Reply]:
        for answer in self._answers:
            if isinstance(answer, BaseException):
                raise answer
            yield Reply(body(answer), self._correlation_id)
        await _for_ever()


def body(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(answer)


async def _for_ever() -> None:
    import asyncio  # noqa: PLC0415

    await asyncio.Event().wait()
