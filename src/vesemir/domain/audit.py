"""The audit: who asked for what, and what became of it, in rows that are chained by hash. Pure.

Each process has a chain of its own, so that writers of different processes do not wait for each other. A row's hash
covers its place, its entry and the hash of the row before. The first row of a chain names the last rows of the chains
that its process saw, so that a chain that is gone is missed by a later one.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vesemir.domain.identity import UNPROVED, Asker

AuditKind = Literal["request", "refusal", "control", "approval", "lock", "prune"]
AUDIT_KINDS: tuple[AuditKind, ...] = get_args(AuditKind)

TEXT_CHARACTERS = 1000
"""Longer texts (a reason, a claim) are cut: a row is a line in a book, not a copy of the message."""

NOTHING_BEFORE = ""
"""What the first row of a chain has for the hash of the row before."""


def digest_of(text: str) -> str | None:
    """SHA-256 of a policy's or a recipe's text; None for none."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() if text else None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """``outcome``: a word such as ``accepted``, or the failure code of a refusal. ``rule``: why it was refused, or
    which rule of the policy allowed it.

    ``policy`` and ``recipe`` are the digests of the texts that it was judged by. ``target``: the one host it is about.
    """

    kind: AuditKind
    outcome: str
    asker: Asker = UNPROVED
    deployment_id: str | None = None
    application: str | None = None
    environment: str | None = None
    version: str | None = None
    command: str | None = None
    reason: str | None = None
    rule: str | None = None
    policy: str | None = None
    recipe: str | None = None
    target: str | None = None

    def as_json(self) -> dict[str, Any]:
        what = {name: getattr(self, name) for name in _TEXTS}
        texts = {**what, "claimed": self.asker.claimed}
        cut = {name: None if text is None else text[:TEXT_CHARACTERS] for name, text in texts.items()}
        return {"kind": self.kind, **self.asker.as_json(), **cut}


_TEXTS = (
    "outcome", "deployment_id", "application", "environment", "version", "command", "reason", "rule", "policy",
    "recipe", "target",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AuditHead:
    """A row of a chain, as somebody has noted it: usually the last one that there was."""

    chain: str
    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.chain} {self.number} {self.hash}"


@dataclass(frozen=True, slots=True)
class AuditRow:
    """``entry`` is what the record keeps as JSON: an ``AuditEntry`` with ``at`` (UTC), and in some rows ``heads`` and
    ``pruned``, by chain ``[number, hash]``."""

    chain: str
    number: int
    previous: str
    hash: str
    entry: Mapping[str, Any]

    @property
    def head(self) -> AuditHead:
        return AuditHead(self.chain, self.number, self.hash)

    @property
    def named(self) -> tuple[AuditHead, ...]:
        """The rows of other chains that this one has seen."""
        return _heads(self.entry.get("heads"))

    @property
    def pruned(self) -> tuple[AuditHead, ...]:
        """The last row of each chain that retention took."""
        return _heads(self.entry.get("pruned"))

    def as_json(self) -> dict[str, Any]:
        place = {"chain": self.chain, "number": self.number, "previous": self.previous, "hash": self.hash}
        return {**place, **self.entry}


def row_after(chain: str, before: AuditHead | None, entry: Mapping[str, Any]) -> AuditRow:
    """The next row of a chain. ``entry`` must be as the record will give it back."""
    number, previous = (1, NOTHING_BEFORE) if before is None else (before.number + 1, before.hash)
    return AuditRow(chain, number, previous, row_hash(chain, number, previous, entry), entry)


def row_hash(chain: str, number: int, previous: str, entry: Mapping[str, Any]) -> str:
    """SHA-256 of the one way to write it: JSON in ASCII, keys sorted, without spaces."""
    written = json.dumps([chain, number, previous, entry], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(written.encode()).hexdigest()


def heads_json(heads: Iterable[AuditHead]) -> dict[str, list[Any]]:
    """As a row's entry keeps them."""
    return {head.chain: [head.number, head.hash] for head in heads}


def _heads(found: object) -> tuple[AuditHead, ...]:
    if not isinstance(found, Mapping):
        return ()
    return tuple(
        AuditHead(str(chain), place[0], str(place[1]))
        for chain, place in found.items()
        if isinstance(place, list) and len(place) == 2 and isinstance(place[0], int)  # noqa: PLR2004 - number and hash
    )


@dataclass(frozen=True, slots=True)
class AuditProblem:
    """Something that was not written so."""

    chain: str
    number: int
    message: str

    def as_json(self) -> dict[str, Any]:
        return {"chain": self.chain, "number": self.number, "message": self.message}


class Verification:
    """Row by row, so that of millions no more is held than one for each chain."""

    def __init__(self, naming: Iterable[AuditRow], known: Iterable[AuditHead] = ()) -> None:
        """``naming``: all rows that name others (``named``, ``pruned``). ``known``: noted elsewhere by somebody."""
        self.rows = 0
        self.heads: dict[str, AuditHead] = {}
        """The last row of each chain."""
        self._pruned: dict[str, AuditHead] = {}
        self._wanted: dict[AuditHead, None] = {}
        for row in naming:
            self._wanted |= dict.fromkeys(row.named)
            for cut in row.pruned:
                if cut.chain not in self._pruned or self._pruned[cut.chain].number < cut.number:
                    self._pruned[cut.chain] = cut
        self._wanted |= dict.fromkeys(known)
        self._found: dict[tuple[str, int], str | None] = {(head.chain, head.number): None for head in self._wanted}

    def take(self, row: AuditRow) -> list[AuditProblem]:
        """What is wrong with the next row. They come chain by chain, in the order of their numbers."""
        self.rows += 1
        last = self.heads.get(row.chain) or self._pruned.get(row.chain)
        self.heads[row.chain] = row.head
        if (row.chain, row.number) in self._found:
            self._found[row.chain, row.number] = row.hash
        return _row_problems(row, last)

    def missing(self) -> list[AuditProblem]:
        """After the last row: what is known of, and was not among them."""
        looked = ((head, self._found[head.chain, head.number]) for head in self._wanted)
        return [problem for head, value in looked if (problem := _missing(head, value, self._pruned))]


def verify(rows: Iterable[AuditRow], known: Iterable[AuditHead] = ()) -> list[AuditProblem]:
    """Everything that is wrong with the audit, given rows that somebody noted elsewhere (``known``).

    ``rows`` in any order. What was removed after the last known row of its chain cannot be seen.
    """
    ordered = sorted(rows, key=lambda row: (row.chain, row.number))
    verification = Verification(ordered, known)
    problems = [problem for row in ordered for problem in verification.take(row)]
    return problems + verification.missing()


def _row_problems(row: AuditRow, last: AuditHead | None) -> list[AuditProblem]:
    problems = []
    if row_hash(row.chain, row.number, row.previous, row.entry) != row.hash:
        problems.append(AuditProblem(row.chain, row.number, "was changed: its hash is of something else"))
    number, previous = (0, NOTHING_BEFORE) if last is None else (last.number, last.hash)
    if row.number != number + 1:
        missing = f"rows {number + 1} to {row.number - 1} before it were removed"
        problems.append(AuditProblem(row.chain, row.number, missing))
    elif row.previous != previous:
        message = "does not follow the row before it: one of both was changed or put in"
        problems.append(AuditProblem(row.chain, row.number, message))
    return problems


def _missing(head: AuditHead, value: str | None, pruned: Mapping[str, AuditHead]) -> AuditProblem | None:
    """``value``: the hash of the row at that place; None where there is none."""
    if value is None:
        cut = pruned.get(head.chain)
        if cut is not None and head.number <= cut.number:
            return None
        return AuditProblem(head.chain, head.number, "is known elsewhere and gone: the chain was cut there or dropped")
    if value != head.hash:
        return AuditProblem(head.chain, head.number, "is known elsewhere with another hash: it was written anew")
    return None


class OldRows:
    """What retention may take: of each chain the rows from its beginning that are older, but never its last one, which
    the next one follows. Row by row, as ``Verification`` has them."""

    def __init__(self, *, before: str) -> None:
        """``before`` is a moment as ``at`` has it."""
        self.cuts: dict[str, AuditHead] = {}
        """By chain, the last row that may be taken."""
        self.rows = 0
        self._before = before
        self._chain: str | None = None
        self._last_old: AuditHead | None = None

    def take(self, row: AuditRow) -> None:
        begins = row.chain != self._chain
        if not begins and self._last_old is not None:
            self.cuts[row.chain] = self._last_old
            self.rows += 1
        is_old = str(row.entry.get("at")) < self._before and (begins or self._last_old is not None)
        self._chain, self._last_old = row.chain, row.head if is_old else None


_HEAD_LINE = re.compile(r"audit\.head (\S+) ([1-9][0-9]{0,17}) ([0-9a-f]{64})\b")


def heads_of_text(text: str) -> list[AuditHead]:
    """The known rows in a file: what ``audit verify --json`` printed, or a log with lines ``audit.head``.

    Raises ``ValueError`` where there are none: a verification against nothing would promise too much.
    """
    try:
        written = json.loads(text)
    except ValueError:
        written = None
    heads = _heads(written.get("heads")) if isinstance(written, dict) else ()
    found = list(heads) or [AuditHead(chain, int(number), value) for chain, number, value in _HEAD_LINE.findall(text)]
    if not found:
        raise ValueError(
            "has no line `audit.head CHAIN NUMBER HASH`, and is no output of `vesemir audit verify --json`"
        )
    return found
