"""A refused message as the audit tells of it."""

from vesemir.contract import Refusal
from vesemir.domain.audit import AuditEntry
from vesemir.engine.ports.broker import IncomingMessage


def refusal_entry(
    message: IncomingMessage,
    refusal: Refusal,
    *,
    claimed: str | None = None,
    policy: str | None = None,
    recipe: str | None = None,
) -> AuditEntry:
    """``claimed``, ``policy`` and ``recipe`` are known where the message could be read and was judged."""
    common = refusal.common
    return AuditEntry(
        "refusal",
        refusal.code.value,
        message.asker(claimed),
        deployment_id=common.deployment_id,
        application=common.application,
        environment=common.environment,
        version=common.version,
        command=refusal.command,
        rule=refusal.message,
        policy=policy,
        recipe=recipe,
    )
