"""Does any instance take what comes? The broker knows who consumes, and the record who has ever run."""

import asyncio
from collections.abc import Iterator, Sequence

from vesemir.adapters.amqp.management import delivery_limits
from vesemir.adapters.amqp.nodes import answering
from vesemir.adapters.amqp.requester import QueueDepth, depths, input_problems
from vesemir.adapters.amqp.topology import QueueTopology
from vesemir.adapters.postgres import Reader
from vesemir.cli.check_lines import CheckWarning
from vesemir.cli.instances import NOT_LISTED, last_seen
from vesemir.cli.record import read
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.ports.views import InstanceView
from vesemir.settings import Settings


def broker_lines(settings: Settings, *, before_start: bool) -> Iterator[str]:
    """Raises ``VesemirError`` where no instance consumes although some have run, unless it is before the start."""
    found = asyncio.run(depths(settings.amqp, name="vesemir check"))
    yield from _nodes(settings)
    topology = QueueTopology(settings.amqp.namespace)
    unread = [queue for queue in (topology.deployments, topology.control) if not _consumers(found[queue])]
    if unread:
        ran, instances = _who_ran(settings)
        what = f"no instance consumes from {' and '.join(unread)}, so nothing that is sent is taken"
        if ran and not before_start:
            seen = f" ({last_seen(instances)})" if instances else ""
            raise VesemirError(f"{what}, although some have run{seen}; {_ADVICE}")
        yield CheckWarning(f"{what}{'' if ran else ': none has run yet'}; start one with `systemctl start vesemir`")
    yield f"answers; {'; '.join(_told(queue, depth) for queue, depth in found.items())}"
    yield from _input_lines(settings, there=[queue for queue, depth in found.items() if depth is not None])
    yield from _limit_lines(settings)


def _input_lines(settings: Settings, *, there: Sequence[str]) -> Iterator[str]:
    """Requesters may be permitted to deploy and not to control only where both have an exchange."""
    for queue, why in asyncio.run(input_problems(settings.amqp, name="vesemir check")).items():
        if queue in there:
            yield CheckWarning(
                f"{queue}: {why}. Whoever sends messages needs the right to write to the default exchange, and so may "
                "deploy and control (docs/install.md)"
            )


def _limit_lines(settings: Settings) -> Iterator[str]:
    """How often the broker gives a message back before it drops it. Raises ``VesemirError``."""
    if settings.amqp.management_url is None:
        yield "what delivery limit its queues have cannot be told: amqp.management_url is not set"
        return
    for limit in delivery_limits(settings.amqp):
        if limit.is_low:
            yield CheckWarning(f"{limit}: {_LIMIT_ADVICE.format(namespace=settings.amqp.namespace)}")
        else:
            yield str(limit)


_LIMIT_ADVICE = (
    "what is returned more often is dropped; raise it by a policy for {namespace}.deployments and {namespace}.control, "
    "docs/install.md has it (an operator policy and the queue's arguments can only lower it)"
)

_ADVICE = (
    "start one with `systemctl start vesemir`; if one runs, its GET /health says what it waits for "
    f"(before a first start: --before-start; {NOT_LISTED})"
)


def _nodes(settings: Settings) -> Iterator[str]:
    """Of a cluster: who answers, and a warning for each node that does not."""
    if len(settings.amqp.addresses) > 1:
        answer, silent = asyncio.run(answering(settings.amqp, name="vesemir check"))
        yield f"{len(answer)} of {len(settings.amqp.addresses)} nodes answer: {', '.join(answer)}"
        yield from (CheckWarning(reason) for reason in silent)


def _consumers(depth: QueueDepth | None) -> int:
    return 0 if depth is None else depth.consumers


def _told(queue: str, depth: QueueDepth | None) -> str:
    if depth is None:
        return f"{queue} not there yet"
    return f"{queue} {depth.messages} waiting, {depth.consumers} consuming"


def _who_ran(settings: Settings) -> tuple[bool, Sequence[InstanceView]]:
    """Nobody, where the record does not answer or is not there yet: the check of the database says so."""

    async def work(reader: Reader) -> tuple[bool, Sequence[InstanceView]]:
        return await reader.anyone_ran(), await reader.instances()

    try:
        return read(work, settings=settings)
    except StoreAwayError:
        return False, ()
