"""The AMQP properties of a message, judged where its body is: they are stored and sent back, so they must be storable.

AMQP 0-9-1 bounds them itself (a short string has at most 255 bytes), but lets them hold any character, and PostgreSQL
stores neither NUL nor half of a surrogate pair.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vesemir.contract.json_body import is_storable
from vesemir.domain.problem import Problem


@dataclass(frozen=True, slots=True)
class MessageProperties:
    """What Vesemir uses of a message's properties. ``user_id`` is verified by RabbitMQ where present."""

    reply_to: str | None = None
    correlation_id: str | None = None
    user_id: str | None = None
    content_encoding: str | None = None

    @property
    def answerable(self) -> bool:
        """Whether ``reply_to`` can be the name of a queue: an answer would not arrive anywhere else."""
        return bool(self.reply_to) and is_storable(self.reply_to or "")


def property_problems(properties: MessageProperties) -> tuple[Problem, ...]:
    """Every property that cannot be stored."""
    return tuple(_problems(properties))


def _problems(properties: MessageProperties) -> Iterator[Problem]:
    for name in ("reply_to", "correlation_id", "user_id"):
        text = getattr(properties, name)
        if text is not None and not is_storable(text):
            yield Problem(name, "must not contain a NUL character or half of a surrogate pair")
