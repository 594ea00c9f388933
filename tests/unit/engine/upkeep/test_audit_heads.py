"""The heads of the audit in the log."""

from tests.fakes.record import Record
from tests.fakes.store import FakeStore
from tests.unit.engine.messages.mailbox import Post

from vesemir.domain.audit import AuditEntry, heads_of_text
from vesemir.engine.upkeep.audit_heads import AuditHeads


async def test_a_head_is_told_in_a_line_that_verify_reads_and_again_when_its_chain_has_grown() -> None:
    record, post = Record(), Post()
    one, other = (FakeStore(record, instance=name) for name in ("a/1", "b/2"))
    told = AuditHeads(one, log=post.log)
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
    await AuditHeads(FakeStore(record, instance="a/1"), log=post.log).tell()
    assert not [line for _, line in post.log.lines if "audit.head" in line]
