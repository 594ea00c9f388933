"""Messages as they come, and answers as they went out, for the tests of intake, control and answers."""

import json
import re
from typing import Any

from tests.fakes.broker import FakeBroker
from tests.published import validate_event
from tests.unit.engine.world import Lines

from vesemir.domain.failure import FailureCode
from vesemir.domain.states import DeploymentState
from vesemir.engine.messages.answers import Answers
from vesemir.engine.ports.broker import IncomingMessage, OutgoingMessage
from vesemir.engine.ports.observe import IntakeOutcome, SilentMeters

NAMESPACE = "vesemir"


def incoming(body: object, *, reply_to: str | None = "answers", correlation_id: str | None = "c-1") -> IncomingMessage:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return IncomingMessage(
        body=raw, reply_to=reply_to, correlation_id=correlation_id, user_id="orchestrator", redelivered=False
    )


ANSWERED = re.compile(r"answers|gone|vesemir\..*")
"""The setting ``amqp.reply_to_pattern``; Vesemir's own queues are not answered though they match."""
REJECTED_SECONDS = 30 * 24 * 3600.0


class Counted(SilentMeters):
    """What was counted."""

    def __init__(self) -> None:
        self.events: list[IntakeOutcome] = []
        self.codes: list[FailureCode] = []
        self.controls: list[tuple[str, bool]] = []
        self.finished: list[tuple[DeploymentState, FailureCode | None, float | None]] = []
        self.rehearsed: list[DeploymentState] = []
        self.glasses = 0

    def event_received(self, outcome: IntakeOutcome, code: FailureCode | None = None) -> None:
        self.events.append(outcome)
        self.codes.extend([code] if code else [])

    def deployment_finished(self, status: DeploymentState, code: FailureCode | None, *, seconds: float | None) -> None:
        self.finished.append((status, code, seconds))

    def dry_run_finished(self, status: DeploymentState) -> None:
        self.rehearsed.append(status)

    def glass_broken(self) -> None:
        self.glasses += 1

    def control_received(self, command: str, *, accepted: bool) -> None:
        self.controls.append((command, accepted))


class Post:
    """A broker with the requester's queue, and the answers that go over it."""

    def __init__(self) -> None:
        self.broker = FakeBroker()
        self.broker.declare("answers")
        self.log = Lines()
        self.answers = Answers(
            self.broker,
            namespace=NAMESPACE,
            instance="host/1",
            log=self.log,
            reply_to_pattern=ANSWERED,
            rejected_seconds=REJECTED_SECONDS,
        )

    def to(self, place: str) -> list[OutgoingMessage]:
        """What went to a queue, or to an exchange."""
        return [each for each in self.broker.published if place in {each.exchange, each.routing_key}]

    def answered(self, place: str = "answers") -> list[dict[str, Any]]:
        """The events that went there, each found to be one of the contract's."""
        bodies: list[dict[str, Any]] = [json.loads(each.body) for each in self.to(place)]
        for body in bodies:
            validate_event(body)
        return bodies
