"""The secrets of the settings, each with its file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from vesemir.adapters.observe import add_secret
from vesemir.adapters.record_seal import RecordSeal
from vesemir.adapters.secret_file import SecretFile, hidden_of
from vesemir.engine.ports.observe import Log
from vesemir.settings import AmqpSettings, Settings, refused_keys


def _broker_url(text: str) -> str:
    wrong = [line for line in text.split() if urlsplit(line).scheme not in {"amqp", "amqps"}]
    return "has a line that is not a URL of a broker" if wrong else ""


def _file_of(amqp: AmqpSettings) -> Path | None:
    """The file that the addresses came from: beside ``amqp.urls`` it counts for nothing."""
    file = amqp.url_file
    return file if file is not None and tuple(file.read_text(encoding="utf-8").split()) == amqp.addresses else None


def hidden_in(settings: Settings) -> list[str]:
    """What the log must never show: whole addresses, their passwords, the API's token and the record's key."""
    management = settings.amqp.management_url
    secrets = (settings.postgres.dsn, management, settings.http.token, settings.secrets.key)
    texts = [*settings.amqp.addresses, *(secret.get_secret_value() for secret in secrets if secret is not None)]
    return [each for text in texts for each in hidden_of(text)]


class SecretFiles:
    """All of them, as one part of the health."""

    def __init__(self, settings: Settings, *, log: Log) -> None:
        kept = partial(SecretFile, log=log, hide=add_secret)
        amqp, postgres, http, secrets = settings.amqp, settings.postgres, settings.http, settings.secrets
        broker, database = "\n".join(amqp.addresses), postgres.dsn.get_secret_value()
        self.amqp_url = kept("amqp.url", broker, _file_of(amqp), refuse=_broker_url)
        self.postgres_dsn = kept("postgres.dsn", database, postgres.dsn_file)
        self._files = [self.amqp_url, self.postgres_dsn]
        self.token: Callable[[], str] | None = None
        self.seal: RecordSeal | None = None
        self._key: SecretFile | None = None
        if http.token is not None:
            token = kept("http.token", http.token.get_secret_value(), http.token_file)
            self._files.append(token)
            self.token = lambda: token.current
        if secrets.key is not None:
            self.seal, given = RecordSeal.of(secrets.key), secrets.key.get_secret_value()
            self._key = kept("secrets.key", given, secrets.key_file, refuse=refused_keys)
            self._files.append(self._key)

    @property
    def problem(self) -> str:
        return "; ".join(secret.problem for secret in self._files if secret.problem)

    def refresh(self) -> None:
        """Read what has changed; not on the event loop."""
        for secret in self._files:
            secret.refresh()
        if self.seal is not None and self._key is not None:
            self.seal.use(self._key.current.split())
