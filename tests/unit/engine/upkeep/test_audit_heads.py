"""The heads of the audit in the log, and among the events."""

import asyncio
from collections.abc import Sequence

from tests.fakes.record import Record
from tests.fakes.store import FakeStore
from tests.unit.engine.messages.mailbox import Post

from vesemir.domain.audit import AuditEntry, AuditHead, heads_of_text
from vesemir.engine.upkeep.audit_heads import AuditHeads


async def test_a_head_is_told_in_a_line_that_verify_reads_and_again_when_its_chain_has_grown() -> None:
    record, post = Record(), Post()
    one, other = (FakeStore(record, instance=name) for name in ("a/1", "b/2"))
    told = AuditHeads(one, log=post.log, publish=post.answers.audit_heads)
    for store in (one, other):
        await store.audit(AuditEntry("refusal", "request.invalid"))
    await told.tell()
    before = await one.audit_heads()
    await one.audit(AuditEntry("refusal", "request.invalid"))
    await told.tell()

    lines = [line for _, line in post.log.lines if "audit.head" in line]
    assert heads_of_text("\n".join(lines)) == [*before, record.audit[-1].head]


async def test_a_record_that_is_away_is_no_error() -> None:
    record, post = Record(), Post()
    record.away = True
    heads = AuditHeads(FakeStore(record, instance="a/1"), log=post.log, publish=post.answers.audit_heads)
    assert await heads.tell() == []
    assert not [line for _, line in post.log.lines if "audit.head" in line]


class AskedStore(FakeStore):
    """Tells when somebody has asked for the heads."""

    def __init__(self) -> None:
        super().__init__(Record(), instance="a/1")
        self.asked = asyncio.Event()

    async def audit_heads(self) -> Sequence[AuditHead]:
        heads = await super().audit_heads()
        self.asked.set()
        return heads


async def test_what_has_grown_since_it_was_told_is_published() -> None:
    store, published = AskedStore(), asyncio.Queue[Sequence[AuditHead]]()
    heads = AuditHeads(store, log=Post().log, publish=published.put, every=0.001)
    await store.audit(AuditEntry("refusal", "request.invalid"))
    running = asyncio.create_task(heads.run())
    try:
        async with asyncio.timeout(10):
            await store.asked.wait()  # what is there at the start is in the log alone
            await store.audit(AuditEntry("refusal", "request.invalid"))
            assert await published.get() == [store.record.audit[-1].head]
    finally:
        running.cancel()


async def test_it_is_published_as_verify_reads_it() -> None:
    post, head = Post(), AuditHead("a/1", 1, "0" * 64)
    await AuditHeads(FakeStore(Record(), instance="a/1"), log=post.log, publish=post.answers.audit_heads).publish(
        [head]
    )
    (told,) = post.broker.published
    assert (told.exchange, told.routing_key) == ("vesemir.events", "unknown.unknown.audit.head")
    assert heads_of_text(told.body.decode()) == [head]
    assert told.headers["cloudEvents:type"] == "io.vesemir.audit.head"


async def test_a_broker_that_is_away_is_no_error() -> None:
    record, post = Record(), Post()
    post.broker.away = True
    head = AuditHead("a/1", 1, "0" * 64)
    await AuditHeads(FakeStore(record, instance="a/1"), log=post.log, publish=post.answers.audit_heads).publish([head])
    assert post.broker.published == []
