"""Who asks: kinds of identities, patterns for them, and identities that are one person."""

import json

import pytest

from vesemir.domain.identity import NO_PERSONS, UNPROVED, Asker, Identity, IdentityNames, Person, Persons

ANNA = Person("anna", frozenset({Identity("amqp", "adm-anna"), Identity("token", "laptop")}))
PERSONS = Persons((Person("bot", frozenset({Identity("amqp", "bot"), Identity("amqp", "robot")})), ANNA))


def asking(text: str) -> Asker:
    return PERSONS.recognise(Asker(Identity.of(text)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bot", Identity("amqp", "bot")),
        ("amqp:bot", Identity("amqp", "bot")),
        ("token:ci", Identity("token", "ci")),
        ("oidc:https://login.example:8443/:7f3a", Identity("oidc", "https://login.example:8443/:7f3a")),
        ("proxy:anna@example.com", Identity("proxy", "anna@example.com")),
        ("team:bot", Identity("amqp", "team:bot")),
        ("token", Identity("amqp", "token")),
    ],
)
def test_a_name_without_a_kind_is_a_rabbitmq_user(text: str, expected: Identity) -> None:
    assert Identity.of(text) == expected
    assert Identity.of(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "token:"])
def test_an_identity_has_a_name(text: str) -> None:
    with pytest.raises(ValueError, match="has no name"):
        Identity.of(text)


@pytest.mark.parametrize(
    ("pattern", "means", "means_not"),
    [
        ("bot", "amqp:bot", "token:bot"),
        ("amqp:bot", "amqp:bot", "proxy:bot"),
        ("*", "amqp:eve", "token:eve"),
        ("token:ci-*", "token:ci-1", "amqp:ci-1"),
        ("oidc:https://sso:*", "oidc:https://sso:1", "oidc:https://other:1"),
        # One of a person's means them all, and so does its name.
        ("robot", "bot", "amqp:adm-anna"),
        ("anna", "token:laptop", "token:anna"),
        ("token:lap*", "adm-anna", "bot"),
    ],
)
def test_whom_a_rule_means(pattern: str, means: str, means_not: str) -> None:
    assert IdentityNames((pattern,)).has(asking(means))
    assert not IdentityNames((pattern,)).has(asking(means_not))


def test_who_proved_nothing_is_meant_by_no_rule() -> None:
    everybody = IdentityNames(("*", "token:*", "oidc:*", "proxy:*", "anna"))
    assert not everybody.has(PERSONS.recognise(Asker(claimed="anna")))
    assert not everybody.has(UNPROVED)


def test_a_persons_name_is_no_pattern() -> None:
    """Else ``*``, every RabbitMQ user, would mean every person."""
    person = Persons((Person("anna", frozenset({Identity("token", "laptop")})),))
    assert not IdentityNames(("*", "an*")).has(person.recognise(Asker(Identity("token", "laptop"))))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("bot", "bot", True),
        ("bot", "robot", True),
        ("adm-anna", "token:laptop", True),
        ("bot", "adm-anna", False),
        ("bot", None, False),
        (None, None, True),
        ("eve", "token:eve", False),
    ],
)
def test_who_is_one_and_the_same(*, one: str | None, other: str | None, same: bool) -> None:
    first, second = (text and Identity.of(text) for text in (one, other))
    assert PERSONS.same(first or None, second or None) is same
    assert PERSONS.same(second or None, first or None) is same


def test_without_entries_everybody_is_himself() -> None:
    assert not NO_PERSONS.same(Identity("amqp", "bot"), Identity("amqp", "robot"))
    assert NO_PERSONS.recognise(asking("bot")).person is None


@pytest.mark.parametrize(("user_id", "identity"), [("bot", Identity("amqp", "bot")), ("", None), (None, None)])
def test_rabbitmqs_user_is_an_identity(user_id: str | None, identity: Identity | None) -> None:
    asker = Asker.by_amqp(user_id, claimed="somebody")
    assert (asker.identity, asker.claimed, asker.way, asker.user_id) == (identity, "somebody", "amqp", user_id or None)


def test_only_rabbitmqs_users_are_user_ids() -> None:
    assert Asker(Identity("token", "ci")).user_id is None


@pytest.mark.parametrize(
    "asker",
    [
        UNPROVED,
        Asker.by_amqp("bot", claimed="anna"),
        Asker(Identity("oidc", "https://sso:1"), None, ("sre", "shop"), "http", "deployer"),
    ],
)
def test_who_asked_comes_back_from_the_record_and_no_person_with_it(asker: Asker) -> None:
    recorded = json.loads(json.dumps(PERSONS.recognise(asker).as_json()))
    assert Asker.of_json(recorded, claimed=asker.claimed) == asker


def test_what_a_later_release_recorded_proves_nothing() -> None:
    assert Asker.of_json({"identity": "kerberos:bot", "way": "amqp"}, claimed=None) == UNPROVED
