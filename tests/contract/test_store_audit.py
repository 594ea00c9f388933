"""The port to the record, on the fake and on PostgreSQL: what is accepted and refused is in the audit."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from tests.contract.store_suite import QUEUE, Stores, a_deployment, accepted_and_claimed, store, stores
from tests.integration.postgres_server import postgres_server

from vesemir.domain.audit import AuditEntry, AuditRow, verify
from vesemir.domain.identity import Asker, Identity
from vesemir.engine.ports.store import ControlCommand, Store

__all__ = ["postgres_server", "store", "stores"]

ANNA = Asker(Identity("amqp", "anna"), claimed="boss")


class AuditedStore(Store, Protocol):
    async def audit_rows(self) -> list[AuditRow]: ...


def cancel(name: str) -> ControlCommand:
    return ControlCommand("cancel", name, "boss", "because", ANNA, "p" * 64)


def outcomes(rows: Sequence[AuditRow]) -> list[tuple[str, str, str | None]]:
    return [(row.entry["kind"], row.entry["outcome"], row.entry["deployment_id"]) for row in rows]


async def test_a_request_is_audited_with_who_and_by_what_it_was_judged(store: AuditedStore) -> None:
    await store.accept(replace(a_deployment(), policy_digest="p" * 64, recipe_digest="r" * 64), QUEUE)

    (row,) = await store.audit_rows()
    assert (row.number, row.previous) == (1, "")
    told = {
        name: row.entry[name] for name in ("kind", "outcome", "identity", "claimed", "way", "application", "version")
    }
    assert told == {
        "kind": "request", "outcome": "accepted", "identity": "amqp:bot", "claimed": "orchestrator", "way": "amqp",
        "application": "shop", "version": "1.4.2",
    }  # fmt: skip
    assert (row.entry["policy"], row.entry["recipe"]) == ("p" * 64, "r" * 64)
    assert row.entry["at"].endswith("Z")


async def test_a_repeat_is_audited_and_a_conflict_is_left_to_who_refuses_it(store: AuditedStore) -> None:
    await store.accept(a_deployment(), QUEUE)
    await store.accept(a_deployment(), QUEUE)
    await store.accept(a_deployment(body_hash=b"2"), QUEUE)
    assert outcomes(await store.audit_rows()) == [("request", "accepted", "d1"), ("request", "repeated", "d1")]


async def test_a_command_that_is_obeyed_is_audited(store: AuditedStore) -> None:
    await accepted_and_claimed(store)
    await store.control(cancel("d1"))
    await store.control(cancel("nobody"))
    await store.control(cancel("d1"), permits=lambda _deployment: False)

    _, row, _ = rows = await store.audit_rows()
    assert outcomes(rows) == [
        ("request", "accepted", "d1"),
        ("control", "accepted", "d1"),
        ("control", "kept", "nobody"),
    ]
    assert (row.entry["command"], row.entry["identity"], row.entry["reason"]) == ("cancel", "amqp:anna", "because")
    assert (row.entry["application"], row.entry["policy"]) == ("shop", "p" * 64)


async def test_a_refusal_has_a_row_of_its_own(store: AuditedStore) -> None:
    await store.audit(AuditEntry("refusal", "request.forbidden", ANNA, rule="rule night: not now"))
    (row,) = await store.audit_rows()
    assert (row.entry["outcome"], row.entry["rule"]) == ("request.forbidden", "rule night: not now")


async def test_each_process_has_a_chain_and_the_later_one_has_seen_the_first(stores: Stores) -> None:
    one, other = await stores("a/1"), await stores("b/2")
    await one.accept(a_deployment("d1"), None)
    await one.accept(a_deployment("d2"), None)
    (head,) = await one.audit_heads()
    await asyncio.gather(*(each.audit(AuditEntry("refusal", "request.invalid")) for each in (one, other) * 20))

    rows: list[AuditRow] = await one.audit_rows()  # type: ignore[attr-defined]
    assert verify(rows, await one.audit_heads()) == []
    assert sorted(row.number for row in rows) == sorted([*range(1, 23), *range(1, 21)])
    first = next(row for row in rows if row.number == 1 and row.chain.startswith("b/2"))
    assert [seen.chain for seen in first.named] == [head.chain]


async def test_what_no_text_of_the_database_holds_is_hashed_as_it_is_kept(store: AuditedStore) -> None:
    odd = Asker(claimed="nul \x00, half a pair \ud800, é")
    await store.audit(AuditEntry("refusal", "request.invalid", odd))
    assert verify(await store.audit_rows(), await store.audit_heads()) == []
