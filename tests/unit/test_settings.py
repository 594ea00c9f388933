"""Settings: the commented example states the defaults, the environment overrides the file, secrets stay secret."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from vesemir.secret_files import hidden_in
from vesemir.settings import AmqpSettings, Settings

EXAMPLE = Path(__file__).parents[2] / "config" / "vesemir.toml"
NO_DEFAULT = (
    "instance",
    "url_file",
    "urls",
    "dsn_file",
    "timeline_file",
    "token_file",
    "tls_certificate",
    "tls_key",
    "key_file",
    "file",
    "folders",
    "sudo_folders",
    "roots",
    "supervisor",
    "jump",
    "client_certificate",
    "client_key_passphrase_file",
    "identities",
    "hosts",
    "user_id",
    "reply_to_pattern",
    "management_url",
    "management_url_file",
)
"""Examples of what has no default value of its own."""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AMQP__URL", "POSTGRES__DSN", "HTTP__PORT", "INSTANCE", "LEASE__SECONDS", "INVENTORY__FILE"):
        monkeypatch.delenv(f"VESEMIR_{name}", raising=False)
    monkeypatch.setenv("VESEMIR_CONFIG", str(tmp_path / "absent.toml"))


def test_the_commented_example_states_the_defaults() -> None:
    text = re.sub(r"^# (?=[a-z_]+ = )", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stated = tomllib.loads(text)
    defaults = Settings().model_dump(mode="python")
    for section, values in stated.items():
        if section in NO_DEFAULT:
            continue
        if not isinstance(values, dict):  # above all tables
            assert defaults[section] == values, section
            continue
        for name, value in values.items():
            default = defaults[section][name]
            plain = default.get_secret_value() if hasattr(default, "get_secret_value") else default
            if name not in NO_DEFAULT:
                assert (str(plain) if isinstance(plain, Path) else plain) == value, f"[{section}] {name}"


def test_the_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "vesemir.toml"
    file.write_text('[amqp]\nnamespace = "other"\nprefetch = 7\n[http]\nport = 1\n', encoding="utf-8")
    monkeypatch.setenv("VESEMIR_CONFIG", str(file))
    monkeypatch.setenv("VESEMIR_HTTP__PORT", "18080")
    settings = Settings()
    assert (settings.amqp.namespace, settings.amqp.prefetch, settings.http.port) == ("other", 7, 18080)


def test_a_typo_is_an_error_and_not_a_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "vesemir.toml"
    file.write_text("[amqp]\nprefech = 7\n", encoding="utf-8")
    monkeypatch.setenv("VESEMIR_CONFIG", str(file))
    with pytest.raises(ValidationError, match="prefech"):
        Settings()


def test_a_secret_comes_from_a_file_and_is_never_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "amqp-url"
    secret.write_text("amqp://user:hunter2@127.0.0.1/\n", encoding="utf-8")
    monkeypatch.setenv("VESEMIR_AMQP__URL_FILE", str(secret))
    settings = Settings()
    assert settings.amqp.url.get_secret_value() == "amqp://user:hunter2@127.0.0.1/"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("text", ["too short", "", f"{'k' * 40}\nshort"])
def test_a_key_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    file = tmp_path / "record-key"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("VESEMIR_SECRETS__KEY_FILE", str(file))
    with pytest.raises(ValidationError, match="at least 32 characters on each line"):
        Settings()


def test_a_secret_file_that_is_missing_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN_FILE", str(tmp_path / "absent"))
    with pytest.raises(ValidationError, match="cannot be read"):
        Settings()


def test_listening_elsewhere_than_on_loopback_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESEMIR_HTTP__HOST", "0.0.0.0")  # noqa: S104 - refused, which is the point
    with pytest.raises(ValidationError, match="token"):
        Settings()
    monkeypatch.setenv("VESEMIR_HTTP__TOKEN", "t0ken")
    assert Settings().http.host == "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize("seconds", [3, 10, 60])
def test_the_intervals_follow_the_lease(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """An instance that stopped trusting its lease has had its hosts end their steps before anybody else may claim."""
    monkeypatch.setenv("VESEMIR_LEASE__SECONDS", str(seconds))
    lease = Settings().lease.times
    assert lease.seconds == seconds
    assert lease.renew_seconds * 2 < lease.trust_seconds
    assert lease.beat_seconds * 3 <= lease.silence_seconds
    assert lease.trust_seconds + lease.fence_seconds + lease.silence_seconds < lease.seconds


def test_a_credential_is_found_in_whichever_unit_this_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files of secrets, keys and known hosts; the settings name them once for every instance of the unit."""
    (tmp_path / "amqp_url").write_text("amqp://user:hunter2@127.0.0.1/\n", encoding="utf-8")
    file = tmp_path / "vesemir.toml"
    file.write_text(
        '[amqp]\nurl_file = "${CREDENTIALS_DIRECTORY}/amqp_url"\n'
        '[ssh]\nclient_key = "${CREDENTIALS_DIRECTORY}/ssh_key"\nknown_hosts = "${CREDENTIALS_DIRECTORY}/known_hosts"\n'
        '[inventory.chef]\nurl = "https://chef"\nclient_name = "v"\nclient_key = "${CREDENTIALS_DIRECTORY}/chef"\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("VESEMIR_CONFIG", str(file))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = Settings()
    assert settings.amqp.url.get_secret_value() == "amqp://user:hunter2@127.0.0.1/"
    assert (settings.ssh.client_key, settings.ssh.known_hosts) == (tmp_path / "ssh_key", tmp_path / "known_hosts")
    assert settings.inventory.chef is not None
    assert settings.inventory.chef.client_key == tmp_path / "chef"


def test_a_credential_without_systemd_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("VESEMIR_POSTGRES__DSN_FILE", "${CREDENTIALS_DIRECTORY}/postgres_dsn")
    with pytest.raises(ValidationError, match=r"CREDENTIALS_DIRECTORY is not set.*that has postgres_dsn"):
        Settings()


def test_the_supervisor_on_hosts_is_named_by_its_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESEMIR_SSH__SUPERVISOR", "supervisor.py")
    with pytest.raises(ValidationError, match="absolute path"):
        Settings()
    monkeypatch.setenv("VESEMIR_SSH__SUPERVISOR", "/usr/local/lib/vesemir/supervisor.py")
    assert str(Settings().ssh.supervisor) == "/usr/local/lib/vesemir/supervisor.py"


@pytest.mark.parametrize(
    ("url", "user_id", "own"),
    [
        ("amqp://vesemir_daemon:x@192.0.2.5/", None, "vesemir_daemon"),
        ("amqp://vesemir%40daemon:x@192.0.2.5/", None, "vesemir@daemon"),
        ("amqp://vesemir_daemon:x@192.0.2.5/", "vesemir_daemon", "vesemir_daemon"),
        ("amqps://192.0.2.5/?auth=external", "CN=vesemir", "CN=vesemir"),
        ("amqps://ignored@192.0.2.5/?auth=EXTERNAL", "CN=vesemir", "CN=vesemir"),
        ("amqps://ignored@192.0.2.5/?auth=EXTERNAL", None, None),
        ("amqp://192.0.2.5/", None, None),
    ],
)
def test_the_own_user_is_the_urls_or_the_settings_or_unknown(url: str, user_id: str | None, own: str | None) -> None:
    assert AmqpSettings(url=SecretStr(url), user_id=user_id).user_at(url) == own


THREE = ("amqp://v:hunter1@192.0.2.1/", "amqp://v:hunter2@192.0.2.2/", "amqps://w@192.0.2.3/")


@pytest.mark.parametrize("parted", [",", " , ", "\n", None], ids=["commas", "spaced", "lines", "json"])
def test_the_nodes_of_a_cluster_come_as_json_or_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, parted: str | None
) -> None:
    monkeypatch.setenv("VESEMIR_AMQP__URLS", json.dumps(THREE) if parted is None else parted.join(THREE))
    amqp = Settings().amqp
    assert amqp.addresses == THREE
    assert [amqp.user_at(address) for address in THREE] == ["v", "v", "w"]
    assert "hunter" not in repr(amqp)


def test_a_list_in_the_file_and_several_lines_in_a_credential(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, credential = tmp_path / "vesemir.toml", tmp_path / "amqp_url"
    monkeypatch.setenv("VESEMIR_CONFIG", str(file))
    file.write_text(f"[amqp]\nurls = {json.dumps(THREE)}\n", encoding="utf-8")
    assert Settings().amqp.addresses == THREE
    credential.write_text("\n".join(THREE) + "\n", encoding="utf-8")
    file.write_text(f'[amqp]\nurl_file = "{credential}"\n', encoding="utf-8")
    assert Settings().amqp.addresses == THREE
    credential.write_text(THREE[1] + "\n", encoding="utf-8")
    assert Settings().amqp.addresses == THREE[1:2]


def test_every_nodes_password_is_a_secret() -> None:
    known = hidden_in(Settings.model_validate({"amqp": {"urls": THREE}}))
    assert {*THREE, "hunter1", "hunter2"} <= set(known)


def test_two_users_are_an_error() -> None:
    with pytest.raises(ValidationError, match=r"leave amqp\.user_id out"):
        AmqpSettings(url=SecretStr("amqp://one:x@192.0.2.5/"), user_id="two")


@pytest.mark.parametrize("days", [-1, 49.8, 365])
def test_rejected_messages_cannot_be_kept_longer_than_the_broker_can_count(days: float) -> None:
    with pytest.raises(ValidationError, match="rejected_days"):
        AmqpSettings(rejected_days=days)


def test_a_pattern_that_is_none_is_an_error() -> None:
    with pytest.raises(ValidationError, match="reply_to_pattern"):
        AmqpSettings(reply_to_pattern="(")
