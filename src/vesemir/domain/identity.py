"""Who asks, as one value, whichever way it came: what was proved, and what was only said. Pure.

Adapters make it (RabbitMQ's ``user_id``, a token, a proxy's header); intake, control, policy and record take it and do
not ask where it came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from vesemir.domain.names import fits

IdentityKind = Literal["amqp", "token", "oidc", "proxy"]
IDENTITY_KINDS: tuple[IdentityKind, ...] = get_args(IdentityKind)

Way = Literal["amqp", "http", "record", "instance"]
"""``record``: ``vesemir cancel`` and its like, written to the database while the broker was away. ``instance``: nobody
asked, Vesemir does it by a rule."""

Role = Literal["viewer", "deployer", "operator", "admin", "auditor"]
"""Of HTTP only (contract section 4)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What was proved. ``name``: a RabbitMQ user, a token's name, ``ISSUER:SUBJECT``, or what a proxy said."""

    kind: IdentityKind
    name: str

    @classmethod
    def of(cls, text: str) -> "Identity":
        """``KIND:NAME``; a name without a kind is a RabbitMQ user. Raises ``ValueError`` for an empty name."""
        kind, name = kind_and_name(text)
        if not name:
            raise ValueError(f"{text!r} has no name")
        return cls(kind, name)

    @classmethod
    def recorded(cls, text: str | None) -> "Identity | None":
        """As the record has it. A kind of a later release proves nothing here: never a user of another kind."""
        kind, _, name = (text or "").partition(":")
        return next((cls(each, name) for each in IDENTITY_KINDS if each == kind and name), None)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def kind_and_name(text: str) -> tuple[IdentityKind, str]:
    """Of an identity, or of a pattern for some."""
    before, colon, after = text.partition(":")
    for kind in IDENTITY_KINDS:
        if colon and before == kind:
            return kind, after
    return "amqp", text


@dataclass(frozen=True, slots=True)
class Person:
    """An ``[[identity]]`` of the policy: identities that belong to one person or program."""

    name: str
    identities: frozenset[Identity]


@dataclass(frozen=True, slots=True)
class Asker:
    """``identity`` None: nothing was proved. ``claimed`` is the message's ``requested_by``, whoever wrote that.

    ``groups`` and ``role`` come with the proof (HTTP). ``person`` is found by the policy (``Persons.recognise``) and
    never recorded: which identities belong together may be other ones tomorrow.
    """

    identity: Identity | None = None
    claimed: str | None = None
    groups: tuple[str, ...] = ()
    way: Way = "amqp"
    role: Role | None = None
    person: Person | None = None

    @classmethod
    def by_amqp(cls, user_id: str | None, *, claimed: str | None = None) -> "Asker":
        """``user_id`` as RabbitMQ verified it; a message need not have one."""
        return cls(Identity("amqp", user_id) if user_id else None, claimed)

    @classmethod
    def of_json(cls, recorded: Mapping[str, Any], *, claimed: str | None) -> "Asker":
        """As the record keeps it."""
        identity, groups = Identity.recorded(recorded.get("identity")), tuple(recorded.get("groups", ()))
        return cls(identity, claimed, groups, recorded.get("way", "amqp"), recorded.get("role"))

    def as_json(self) -> dict[str, Any]:
        """What was claimed is kept beside it."""
        identity = None if self.identity is None else str(self.identity)
        return {"identity": identity, "groups": list(self.groups), "way": self.way, "role": self.role}

    @property
    def user_id(self) -> str | None:
        """The RabbitMQ user, if it is one."""
        return self.identity.name if self.identity is not None and self.identity.kind == "amqp" else None

    @property
    def identities(self) -> frozenset[Identity]:
        """All that belong to whoever asks; empty where nothing was proved."""
        if self.identity is None:
            return frozenset()
        return frozenset({self.identity}) if self.person is None else self.person.identities


UNPROVED = Asker()
"""Nobody knows who."""


@dataclass(frozen=True, slots=True)
class Persons:
    """Every ``[[identity]]``; an identity is in one at most."""

    known: tuple[Person, ...] = ()

    def recognise(self, asker: Asker) -> Asker:
        """With the person that the identity belongs to, if it belongs to one."""
        person = next((each for each in self.known if asker.identity in each.identities), None)
        return replace(asker, person=person)

    def same(self, one: Identity | None, other: Identity | None) -> bool:
        """Whether both are one and the same. Those who proved nothing count as one."""
        joined = one is not None and any({one, other} <= person.identities for person in self.known)
        return one == other or joined


NO_PERSONS = Persons()


@dataclass(frozen=True, slots=True)
class IdentityNames:
    """Whom a rule means: patterns of identities, a name without a kind being a RabbitMQ user; or a person's name."""

    patterns: tuple[str, ...]

    def has(self, asker: Asker) -> bool:
        if asker.identity is not None and asker.person is not None and asker.person.name in self.patterns:
            return True
        return any(_means(pattern, identity) for pattern in self.patterns for identity in asker.identities)

    def __str__(self) -> str:
        return ", ".join(self.patterns)


def _means(pattern: str, identity: Identity) -> bool:
    kind, name = kind_and_name(pattern)
    return kind == identity.kind and fits(name, identity.name)
