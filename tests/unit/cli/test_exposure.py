"""What works and is not safe is named, with the setting that closes it; what stays on the machine is not."""

import pytest

from vesemir.cli.exposure import exposures
from vesemir.domain.failure import VesemirError
from vesemir.plaintext import refuse_plaintext
from vesemir.settings import Settings


def found(**given: object) -> list[str]:
    return list(exposures(Settings.model_validate({"policy": {"file": "/etc/vesemir/policy.toml"}, **given})))


def test_the_defaults_stay_on_the_machine() -> None:
    assert found() == []


def test_no_policy_allows_everything() -> None:
    (warning,) = exposures(Settings.model_validate({}))
    assert warning.startswith("policy.file is not set: every requester may deploy every application")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"amqp": {"url": "amqp://u:p@broker.example:5672/"}}, "amqp.url"),
        ({"postgres": {"dsn": "postgresql://u:p@db.example/record"}}, "postgres.dsn"),
        ({"postgres": {"dsn": "postgresql://u:p@db.example/record?sslmode=prefer"}}, "postgres.dsn"),
        ({"postgres": {"dsn": "host=db.example dbname=record user=u"}}, "postgres.dsn"),
        ({"amqp": {"urls": ["amqp://u:p@127.0.0.1/", "amqp://u:p@broker.example/"]}}, "amqp.url"),
        ({"postgres": {"dsn": "postgresql://u:p@127.0.0.1:5432,db.example:5432/record"}}, "postgres.dsn"),
        ({"postgres": {"dsn": "postgresql://u:p@/record?host=127.0.0.1,db.example"}}, "postgres.dsn"),
        ({"http": {"host": "0.0.0.0", "token": "t"}}, "http.host"),  # noqa: S104 - what is warned of
    ],
)
def test_what_leaves_the_machine_in_clear_is_named(given: dict[str, object], place: str) -> None:
    (warning,) = found(**given)
    assert warning.startswith(place)
    assert "u:p" not in warning


@pytest.mark.parametrize(
    "given",
    [
        {"amqp": {"url": "amqps://u:p@broker.example/"}},
        {"postgres": {"dsn": "postgresql://u:p@db.example/record?sslmode=verify-full"}},
        {"postgres": {"dsn": "host=/var/run/postgresql dbname=record"}},
        {"postgres": {"dsn": "postgresql:///record?host=/var/run/postgresql"}},
        {"amqp": {"url": "amqp://u:p@[::1]:5672/"}},
        {"http": {"host": "0.0.0.0", "token": "t", "tls_certificate": "/etc/vesemir/tls/here.pem"}},  # noqa: S104
        {"postgres": {"dsn": "postgresql://u:p@127.0.0.1:5432,[::1]:5432/record"}},
    ],
)
def test_what_is_encrypted_or_local_is_not(given: dict[str, object]) -> None:
    assert found(**given) == []


def test_require_tls_refuses_each_of_them() -> None:
    given = {
        "amqp": {"urls": ["amqps://u:p@one.example/", "amqp://u:p@two.example/"]},
        "postgres": {"dsn": "postgresql://u:p@db.example/record"},
    }
    refuse_plaintext(Settings.model_validate(given))
    with pytest.raises(VesemirError) as refused:
        refuse_plaintext(Settings.model_validate({"require_tls": True, **given}))
    first, second = str(refused.value).splitlines()
    assert first.startswith("amqp.url: the connection to two.example is not encrypted")
    assert second.startswith("postgres.dsn: the connection to db.example may be unencrypted")


def test_require_tls_takes_what_is_encrypted_or_stays_here() -> None:
    refuse_plaintext(Settings.model_validate({"require_tls": True, "amqp": {"url": "amqps://u:p@broker.example/"}}))


def test_a_key_needs_its_certificate() -> None:
    with pytest.raises(ValueError, match=r"http\.tls_certificate must be set"):
        Settings.model_validate({"http": {"tls_key": "/etc/vesemir/tls/here-key.pem"}})
