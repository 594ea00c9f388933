"""The chains of the audit: whatever was done to rows that somebody knows of is found."""

import json
from dataclasses import replace

import pytest

from vesemir.domain.audit import (
    TEXT_CHARACTERS,
    AuditEntry,
    AuditHead,
    AuditRow,
    digest_of,
    heads_json,
    heads_of_text,
    row_after,
    verify,
)
from vesemir.domain.identity import Asker, Identity


def chain(name: str, count: int, *, seen: tuple[AuditHead, ...] = ()) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for number in range(count):
        entry = {
            "at": "2026-11-28T03:00:00.000000Z",
            **AuditEntry("request", "accepted", version=str(number)).as_json(),
        }
        more = {} if rows else {"heads": heads_json(seen)}
        rows.append(row_after(name, rows[-1].head if rows else None, entry | more))
    return rows


FIRST = chain("a/1", 5)
SECOND = chain("b/2", 4, seen=(FIRST[2].head,))
ROWS = [*SECOND, *FIRST]
KNOWN = [FIRST[-1].head, SECOND[-1].head]


def test_what_nobody_touched_is_sound() -> None:
    assert verify(ROWS, KNOWN) == []
    assert verify([]) == []


def found(rows: list[AuditRow], known: list[AuditHead] = KNOWN) -> list[tuple[str, int]]:
    return [(problem.chain, problem.number) for problem in verify(rows, known)]


def test_a_changed_row_is_found() -> None:
    changed = replace(FIRST[1], entry={**FIRST[1].entry, "outcome": "request.forbidden"})
    assert found([changed if row is FIRST[1] else row for row in ROWS]) == [("a/1", 2)]


def test_a_changed_row_with_a_hash_that_fits_is_found_by_the_one_after_it() -> None:
    entry = {**FIRST[1].entry, "outcome": "request.forbidden"}
    changed = row_after("a/1", FIRST[0].head, entry)
    assert found([changed if row is FIRST[1] else row for row in ROWS]) == [("a/1", 3)]


def test_a_chain_that_was_written_anew_is_found_by_the_known_row() -> None:
    anew = chain("a/1", 5, seen=(AuditHead("x", 1, "y"),))
    assert ("a/1", 5) in found([*SECOND, *anew])


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_removed_row_is_found(number: int) -> None:
    assert ("a/1", number + 1) in found([row for row in ROWS if row is not FIRST[number - 1]])


def test_an_inserted_row_is_found() -> None:
    inserted = row_after("a/1", FIRST[1].head, {"kind": "approval"})
    moved = [replace(row, number=row.number + 1) for row in FIRST[2:]]
    assert ("a/1", 4) in found([*SECOND, *FIRST[:2], inserted, *moved])


def test_a_cut_tail_is_found_by_the_known_row_alone() -> None:
    cut = [row for row in ROWS if row is not FIRST[-1]]
    assert found(cut) == [("a/1", 5)]
    assert found(cut, []) == []


def test_a_dropped_chain_is_found_by_a_later_chain_or_by_the_known_row() -> None:
    assert found(SECOND, []) == [("a/1", 3)]
    assert found(FIRST) == [("b/2", 4)]
    assert ("a/1", 5) in found([])


def test_what_retention_took_is_no_gap_and_what_else_was_taken_is_one() -> None:
    entry = {"kind": "prune", "heads": heads_json(KNOWN), "pruned": heads_json([FIRST[2].head])}
    checkpoint = row_after("owner/1", None, entry)
    assert found([*FIRST[3:], *SECOND, checkpoint]) == []
    assert ("a/1", 5) in found([*FIRST[4:], *SECOND, checkpoint])
    assert found([*FIRST[3:], *SECOND]) == [("a/1", 4), ("a/1", 3)]


def test_an_entry_tells_proof_and_claim_and_cuts_long_texts() -> None:
    asker = Asker(Identity("amqp", "bot"), claimed="anna")
    entry = AuditEntry("control", "accepted", asker, command="cancel", reason="x" * 2000).as_json()
    assert (entry["identity"], entry["claimed"], entry["way"]) == ("amqp:bot", "anna", "amqp")
    assert len(entry["reason"]) == TEXT_CHARACTERS
    assert json.loads(json.dumps(entry)) == entry


def test_heads_are_read_from_what_verify_printed_and_from_a_log() -> None:
    assert heads_of_text(json.dumps({"heads": heads_json(KNOWN)})) == KNOWN
    assert heads_of_text(f"12:00 INFO audit.head {KNOWN[0]}\nother\naudit.head {KNOWN[1]}\n") == KNOWN
    assert heads_of_text(json.dumps({"message": f"audit.head {KNOWN[0]}"})) == KNOWN[:1]
    with pytest.raises(ValueError, match=r"audit\.head"):
        heads_of_text("nothing")


def test_a_digest_is_of_a_text() -> None:
    assert digest_of("") is None
    assert digest_of("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
