"""Every setting, read in one place: the TOML file named by VESEMIR_CONFIG, overridden by VESEMIR_* variables.

Nested settings use two underscores in the environment: ``VESEMIR_AMQP__URL`` sets ``[amqp] url``. A secret may
come from a file instead (``url_file``, ``dsn_file``, ``token_file``), which is how systemd credentials arrive:
``${CREDENTIALS_DIRECTORY}/amqp_url`` is the file of that credential, in whichever unit this runs.
"""

import json
import os
import re
import socket
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from vesemir.domain.jump import refuse_jumps
from vesemir.domain.request import Timeouts
from vesemir.engine.limits import LeaseTimes

DEFAULT_FILE = Path("/etc/vesemir/vesemir.toml")

IdentityName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Seconds = Annotated[float, Field(gt=0)]

LONGEST_TTL_DAYS = 49
"""RabbitMQ refuses a message that expires in 2^32 ms or more (docs: Time-To-Live)."""

CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""Where systemd puts what a unit names with ``LoadCredential`` (systemd.exec(5)); not set elsewhere."""


def settings_file() -> Path:
    """Where the settings are read from, if it is there."""
    return Path(os.environ.get("VESEMIR_CONFIG", str(DEFAULT_FILE)))


def _located(given: object) -> object:
    """``${CREDENTIALS_DIRECTORY}/name`` is a credential's file; every other path stays as it is."""
    start = f"${{{CREDENTIALS}}}/"
    if not isinstance(given, str) or not given.startswith(start):
        return given
    folder = os.environ.get(CREDENTIALS)
    if not folder:
        raise ValueError(
            f"{CREDENTIALS} is not set: systemd sets it for a unit with LoadCredential; elsewhere set it to a folder "
            f"that has {given.removeprefix(start)}"
        )
    return Path(folder) / given.removeprefix(start)


def _absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute():
        raise ValueError("must be an absolute path: a sudo rule names it")
    return path


def _jumps(text: str) -> str:
    if reason := refuse_jumps(text):
        raise ValueError(reason)
    return text


KeptFile = Annotated[Path, BeforeValidator(_located)]
"""A file that may be one of systemd's credentials."""


def _in_state_directory() -> Path | None:
    """systemd names the folder of ``StateDirectory`` (systemd.exec(5)); not set elsewhere."""
    folder = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(folder) / "postgres-timeline" if folder else None


class SettingsSection(BaseModel):
    """A table of the settings file; an unknown key is an error, because a typo must not become a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _secret_from(file: Path | None, given: SecretStr, name: str) -> SecretStr:
    if file is None:
        return given
    try:
        return SecretStr(file.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise ValueError(f"{name}_file {file} cannot be read: {error.strerror}; check its path and mode") from error


def _listed(given: object) -> object:
    """A variable has a list as JSON, or its URLs one after the other: parted by commas, or one on a line."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        return json.loads(given)
    return [each.strip() for each in re.split(r"\s*,\s*(?=amqps?://)|\s+", given.strip()) if each.strip()]


def user_of(url: str) -> str | None:
    """Who logs in with this URL of a broker; None where a certificate or nothing tells it."""
    parts = urlsplit(url)
    if parse_qs(parts.query).get("auth", ["plain"])[0].lower() != "plain":
        return None
    return unquote(parts.username) if parts.username else None


class AmqpSettings(SettingsSection):
    url: SecretStr = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
    url_file: KeptFile | None = None
    """One URL; or several, one a line, as ``urls`` has them."""
    urls: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)] = ()
    """The nodes of a cluster, tried in turn; where it is set, ``url`` is not looked at."""
    namespace: str = Field(default="vesemir", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    heartbeat_seconds: int = Field(default=10, ge=2)
    connect_timeout_seconds: Seconds = 10
    publish_timeout_seconds: Seconds = 20
    prefetch: int = Field(default=20, ge=1, le=1000)
    max_message_bytes: int = Field(default=1024 * 1024, ge=1024)
    reply_deadline_seconds: Seconds = 600
    """How long an unroutable ``reply_to`` is tried again before its destination is parked."""
    user_id: str | None = Field(default=None, min_length=1, max_length=255)
    """Who logs in, where the URL does not tell it: with a client certificate (``auth=external``)."""
    reply_to_pattern: re.Pattern[str] | None = None
    """A regular expression that the whole of a ``reply_to`` must match; unset: any queue but Vesemir's own."""
    rejected_days: float = Field(default=30, ge=0, le=LONGEST_TTL_DAYS)
    """How long a refused message is kept in ``NAMESPACE.rejected``; 0 is for ever."""
    management_url: SecretStr | None = None
    """Of RabbitMQ's management API, for ``vesemir check``; without a user in it, the one of ``url`` logs in."""
    management_url_file: KeptFile | None = None

    @model_validator(mode="after")
    def _checked(self) -> Self:
        object.__setattr__(self, "url", _secret_from(self.url_file, self.url, "amqp.url"))
        if self.management_url_file is not None:
            found = _secret_from(self.management_url_file, SecretStr(""), "amqp.management_url")
            object.__setattr__(self, "management_url", found)
        if self.url_file is not None and not self.urls:
            lines = tuple(SecretStr(line) for line in self.url.get_secret_value().split())
            object.__setattr__(self, "url", lines[0] if lines else self.url)
            object.__setattr__(self, "urls", lines if len(lines) > 1 else ())
        for named in (user_of(address) for address in self.addresses):
            if named and self.user_id and named != self.user_id:
                raise ValueError(
                    f"amqp.user_id is {self.user_id}, and amqp.url logs in as {named}; leave amqp.user_id out"
                )
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """The URL of each node that may be asked, with its password; at least one."""
        return tuple(url.get_secret_value() for url in self.urls or (self.url,))

    def user_at(self, address: str) -> str | None:
        """Who this instance is for the RabbitMQ at one of ``addresses``, which refuses a message that says another
        ``user_id``; None: unknown."""
        return user_of(address) or self.user_id


class PostgresSettings(SettingsSection):
    dsn: SecretStr = SecretStr("postgresql://vesemir@127.0.0.1:5432/vesemir")
    dsn_file: KeptFile | None = None
    pool_size: int = Field(default=10, ge=2)
    connect_timeout_seconds: Seconds = 5
    command_timeout_seconds: Seconds = 10
    timeline_file: Path | None = Field(default_factory=_in_state_directory)
    """Where the highest timeline of the database is remembered for the next start: an old primary that comes back
    writable beside the new one is not written to. Unset, and not under systemd's ``StateDirectory``: in memory only."""

    @model_validator(mode="after")
    def _read_secret(self) -> Self:
        object.__setattr__(self, "dsn", _secret_from(self.dsn_file, self.dsn, "postgres.dsn"))
        return self


class IdentitySettings(SettingsSection):
    """A key to log in with. Files are read again when they change."""

    key: KeptFile
    certificate: KeptFile | None = None
    """OpenSSH's, of a user; unset: the key's path with ``-cert.pub`` behind it, if that is there."""
    user: str = ""
    """For targets that the inventory gives no user."""
    passphrase: SecretStr | None = None
    passphrase_file: KeptFile | None = None


class SshSettings(SettingsSection):
    user: str = "vesemir"
    port: int = Field(default=22, ge=1, le=65535)
    client_key: KeptFile = Path("/etc/vesemir/ssh/id_ed25519")
    client_certificate: KeptFile | None = None
    """Unset: ``client_key`` with ``-cert.pub`` behind it, if that is there."""
    client_key_passphrase: SecretStr | None = None
    client_key_passphrase_file: KeptFile | None = None
    agent: bool | Path = False
    """Whether keys of an SSH agent are offered, before ``client_key``, which then need not be there: its socket, or
    true for the one of SSH_AUTH_SOCK."""
    identities: dict[IdentityName, IdentitySettings] = {}
    """Further keys by name, for targets whose inventory variable ``vesemir_identity`` names one."""
    known_hosts: KeptFile = Path("/etc/vesemir/ssh/known_hosts")
    max_sessions: int = Field(default=500, ge=1)
    max_handshakes: int = Field(default=25, ge=1)
    connect_timeout_seconds: Seconds = 10
    login_timeout_seconds: Seconds = 20
    keepalive_seconds: Seconds = 15
    keepalive_misses: int = Field(default=3, ge=1)
    state_dir: str = ".vesemir"
    """Folder for lock, epochs and markers on a target; relative to the login user's home."""
    python: str = "python3"
    supervisor: Annotated[PurePosixPath, AfterValidator(_absolute)] | None = None
    """The supervisor as a file on the targets, root's, instead of sending it (docs/install.md). A host's inventory
    variable ``vesemir_supervisor`` overrides it."""
    jump: Annotated[str, AfterValidator(_jumps)] = ""
    """Jump hosts before every target, the first one first, separated by commas: names of the inventory, or
    ``user@host:port``. The inventory variable ``vesemir_jump`` overrides it."""
    max_jump_handshakes: int = Field(default=8, ge=1)
    """Handshakes at once through one jump host."""
    jump_wait_seconds: Seconds = 30
    """How long targets wait for a jump host that does not answer, counted from its first failure."""
    jump_idle_seconds: Seconds = 60
    """A jump host that nothing goes through for so long is logged out of."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.agent is True and not os.environ.get("SSH_AUTH_SOCK"):
            raise ValueError("ssh.agent is true, and SSH_AUTH_SOCK is not set: set ssh.agent to the agent's socket")
        return self

    @property
    def agent_socket(self) -> Path | None:
        """None: no agent is asked."""
        if isinstance(self.agent, Path):
            return self.agent
        return Path(os.environ.get("SSH_AUTH_SOCK", "")) if self.agent else None


HostName = Annotated[str, Field(pattern=r"^(\[?[0-9A-Fa-f:.]+\]?|[A-Za-z0-9._-]+)$", max_length=253)]


class HttpSettings(SettingsSection):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    token: SecretStr | None = None
    token_file: KeptFile | None = None
    tls_certificate: KeptFile | None = None
    """PEM, with the chain behind it: HTTPS instead of HTTP. Read again when it changes."""
    tls_key: KeptFile | None = None
    """PEM, without a passphrase; unset: in the file of ``tls_certificate``."""
    leave_seconds: float = Field(default=0, ge=0)
    """How long ``/health`` says 503, at least, before nobody listens any more: what the load balancer in front needs to
    notice it. What is in work is handed over meanwhile."""
    hosts: tuple[HostName, ...] | None = None
    """The names in ``Host`` that are answered, without ports; unset: any IP address, ``localhost``, the host's name."""
    max_connections: int = Field(default=1000, ge=32)
    """Fewer where the process has not enough descriptors for them beside SSH, the broker and the database."""
    max_connections_per_address: int = Field(default=500, ge=8)
    """A load balancer that passes everything on is one address."""
    header_seconds: Seconds = 10
    """From a connection, or the first byte of a further request, to the end of its header."""
    body_seconds: Seconds = 30
    """From there to the end of its body."""
    send_seconds: Seconds = 30
    """How long a client may take nothing of its answer."""
    keep_alive_seconds: Seconds = 75
    """Between two requests on one connection."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.token_file is not None:
            object.__setattr__(self, "token", _secret_from(self.token_file, SecretStr(""), "http.token"))
        if self.host not in {"127.0.0.1", "::1", "localhost"} and self.token is None:
            raise ValueError("http.token must be set to listen elsewhere than on loopback")
        if self.tls_key is not None and self.tls_certificate is None:
            raise ValueError("http.tls_certificate must be set where http.tls_key is")
        return self


AttributePath = Annotated[str, Field(pattern=r"^[^.\x00-\x1f]+(\.[^.\x00-\x1f]+)*$")]
"""A node's attribute, as in ``cloud.local_ipv4``."""


PortsText = Annotated[str, Field(pattern=r"^[0-9]{1,5}(-[0-9]{1,5})?$")]
"""``2222`` or ``1024-65535``."""


class NodeRulesSettings(SettingsSection):
    """What hosts may say of themselves, in an inventory that is data from outside. In a list of names ``*`` stands for
    any text. docs/inventory.md explains what is refused by default."""

    allowed_networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    """Where addresses may be; unset: anywhere but on loopback, link-local, multicast and reserved addresses, and on
    those of the instance itself."""
    allowed_users: tuple[str, ...] | None = None
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65535)] | PortsText, ...] | None = None
    allowed_variables: tuple[str, ...] | None = None
    """Unset: all but ``vesemir_*``, ``haproxy_socket``, ``sudo``, ``systemctl`` and ``systemctl_sudo``."""
    fixed_variables: dict[str, str] = {}
    """The operator's, for every host of this inventory; they win over what a host says."""


class ChefClusterSettings(NodeRulesSettings):
    """A Chef server, or one organization of it."""

    url: str = Field(pattern=r"^https?://[^/?#\s@]+(/[^?#\s]*)?$")
    organization: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,254}$")
    """May as well stand in the URL: ``https://chef.example.com/organizations/shop``."""
    client_name: str = Field(pattern=r"^[A-Za-z0-9_.@:-]{1,255}$")
    client_key: KeptFile
    """Its RSA key as PEM, without a passphrase."""
    ca_file: KeptFile | None = None
    """PEM of the authority that signed the server's certificate, instead of the system's own."""
    address_attributes: tuple[AttributePath, ...] = Field(
        default=("cloud.local_ipv4", "ipaddress", "fqdn"), min_length=1
    )
    """The first that a node has is its address."""
    port_attributes: tuple[AttributePath, ...] = ("vesemir.port",)
    user_attributes: tuple[AttributePath, ...] = ("vesemir.user",)
    variables_attribute: AttributePath = "vesemir.variables"
    """A mapping in the node: the host's variables, for recipes and ``order_by``."""
    variables: dict[str, AttributePath] = {}
    """Further variables by name, each from an attribute: ``zone = "ec2.placement_availability_zone"``."""
    allow_raw_query: bool = False
    """Whether requests may bring a search query of their own, instead of tags, roles and recipes."""
    stale_after_seconds: Seconds = 24 * 3600
    """Nodes that have not converged for so long are reported."""
    rows: int = Field(default=1000, ge=1, le=10_000)
    """Nodes asked for at once."""
    timeout_seconds: Seconds = 10
    """For one request; it is tried ``attempts`` times."""
    attempts: int = Field(default=3, ge=1, le=10)
    deadline_seconds: Seconds = 120
    """For a whole search, all pages and attempts."""


class DefaultChefClusterSettings(ChefClusterSettings):
    """The one that is meant when a request names none; ``name`` is for requests and people."""

    name: str = "default"


class StaticInventorySettings(SettingsSection):
    file: Path | None = None


class InventorySettings(StaticInventorySettings):
    chef: DefaultChefClusterSettings | None = None
    chef_clusters: dict[str, ChefClusterSettings] = {}
    """Further Chef servers by name. Without ``chef``, a single one of them is the default."""

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.chef is not None and self.chef.name in self.chef_clusters:
            raise ValueError(f"inventory.chef is named {self.chef.name}, and so is one of inventory.chef_clusters")
        return self


class HaproxySettings(SettingsSection):
    socket: str = "/run/haproxy/admin.sock"
    """Path of the runtime socket on a load balancer, or its ``host:port`` there (``127.0.0.1:9999``, through SSH); its
    inventory variable ``haproxy_socket`` overrides it."""
    up_deadline_seconds: Seconds = 60
    """How long a server may take to pass a fresh health check before ``haproxy.not_up``."""
    capacity_deadline_seconds: Seconds = 300
    """How long a target waits for ``min_available`` before ``haproxy.capacity``."""
    command_timeout_seconds: Seconds = 10


class AnalysisSettings(SettingsSection):
    """How canaries are judged where requests ask for ``rollout.analysis``; docs/analysis.md explains it."""

    false_alarm_rate: float = Field(default=0.01, gt=0, le=0.5)
    """How often at most a deployment of a release as good as the old one is blamed for its errors."""
    slow_factor: float = Field(default=2.0, ge=1)
    """A canary is too slow if its mean response time is so many times its siblings' and ``slow_floor_ms`` more."""
    slow_floor_ms: float = Field(default=100.0, ge=0)


class LeaseSettings(SettingsSection):
    seconds: Seconds = 60

    @property
    def times(self) -> LeaseTimes:
        """Every interval that follows from it."""
        return LeaseTimes(self.seconds)


class LimitsSettings(SettingsSection):
    deployments: int = Field(default=50, ge=1)
    """Deployments that one instance runs at once."""
    targets: int = Field(default=10_000, ge=1)
    expiries: int = Field(default=5, ge=1)
    """Leases of one deployment that may expire before it is claimed a last time to clean up and fail."""
    output_bytes: int = Field(default=256 * 1024, ge=4096)
    """Output of one step that is kept in the record."""
    deployment_seconds: Seconds = 4 * 3600
    target_seconds: Seconds = 3600
    step_seconds: Seconds = 3600
    approval_seconds: Seconds = 24 * 3600
    """How long ``rollout.approve_after`` waits for a ``resume`` before the deployment is cancelled."""
    pause_seconds: Seconds = 7 * 24 * 3600
    """The same for a pause that somebody asked for."""
    shutdown_seconds: Seconds = 20

    @property
    def caps(self) -> Timeouts:
        """The longest timeouts that a request can have."""
        return Timeouts(self.deployment_seconds, self.target_seconds, self.step_seconds)


class RecipeFolderSettings(SettingsSection):
    """A folder of recipes with rules of its own."""

    path: Path
    override: bool | tuple[str, ...] = False
    """Which recipes of earlier folders it may replace: their names, or true for any."""
    prefix: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9_-]{0,61})?$")
    """What the names of its recipes must begin with."""


def _form_of(folder: object) -> str:
    return "table" if isinstance(folder, dict | RecipeFolderSettings) else "path"


RecipeFolderEntry = Annotated[
    Annotated[Path, Tag("path")] | Annotated[RecipeFolderSettings, Tag("table")], Discriminator(_form_of)
]


class RecipesSettings(SettingsSection):
    folders: tuple[RecipeFolderEntry, ...] = ()
    """Folders of ``*.toml`` recipes beside the shipped ones, as paths or as tables. A later folder's recipe of the same
    name wins; where its table does not announce that by ``override`` it is a warning, and an error from 1.0 on."""
    sudo_folders: tuple[Path, ...] | None = None
    """Those of them whose recipes may use sudo; the shipped ones always may. Unset: all."""

    @property
    def tables(self) -> tuple[RecipeFolderSettings, ...]:
        return tuple(
            each if isinstance(each, RecipeFolderSettings) else RecipeFolderSettings(path=each) for each in self.folders
        )

    @model_validator(mode="after")
    def _known(self) -> Self:
        paths = [folder.path for folder in self.tables]
        if unknown := [str(folder) for folder in self.sudo_folders or () if folder not in paths]:
            raise ValueError(f"recipes.sudo_folders names {', '.join(unknown)}, not among recipes.folders")
        return self


class PolicySettings(SettingsSection):
    file: Path | None = None
    """Who may deploy what, when and how much at once; without it everything is allowed."""


class ArtifactsSettings(SettingsSection):
    roots: tuple[Path, ...] = ()
    """Folders from which ``file://`` artifacts may be read."""
    max_bytes: int = Field(default=4 * 1024**3, ge=1024)
    """Of one artifact, as it is fetched or sent."""
    max_entries: int = Field(default=250_000, ge=1)
    """Files, folders and links in an archive."""
    max_unpacked_bytes: int = Field(default=8 * 1024**3, ge=1024)
    """Of all files in an archive together."""


_KEY_CHARACTERS = 32


def refused_keys(text: str) -> str:
    """Why these are no keys for the record; "" if they are."""
    keys = text.split()
    if keys and all(len(key) >= _KEY_CHARACTERS for key in keys):
        return ""
    return f"must have at least {_KEY_CHARACTERS} characters on each line; `openssl rand -base64 32` makes one"


class SecretsSettings(SettingsSection):
    """For secret parameters in the record, until their deployment has ended; the same for all instances."""

    key: SecretStr | None = None
    """At least 32 random characters; several, one per line, while it is being changed: the first one seals."""
    key_file: KeptFile | None = None

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.key_file is not None:
            object.__setattr__(self, "key", _secret_from(self.key_file, SecretStr(""), "secrets.key"))
        if self.key is not None and (refused := refused_keys(self.key.get_secret_value())):
            raise ValueError(f"secrets.key {refused}")
        return self


class RetentionSettings(SettingsSection):
    """How long what has ended stays in the record. Ids, hashes, results and statistics stay for ever."""

    days: float = Field(default=365, ge=0)
    """Counted from the end of a deployment; 0 keeps everything."""
    batch_rows: int = Field(default=2000, ge=100, le=100_000)
    """Rows deleted in one transaction, about."""
    every_seconds: Seconds = 3600
    """Between two looks for what is old enough."""


class LogSettings(SettingsSection):
    level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "json", "text"] = "auto"


def _instance_default() -> str:
    return socket.gethostname() or "localhost"


class Settings(BaseSettings):
    """The whole of it."""

    model_config = SettingsConfigDict(
        env_prefix="VESEMIR_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    instance: str = Field(default_factory=_instance_default, pattern=r"^[A-Za-z0-9._-]{1,253}$")
    require_tls: bool = False
    """Refuse to start where a connection that leaves the machine is not encrypted: broker, database, Chef, HTTP."""
    amqp: AmqpSettings = AmqpSettings()
    postgres: PostgresSettings = PostgresSettings()
    ssh: SshSettings = SshSettings()
    http: HttpSettings = HttpSettings()
    inventory: InventorySettings = InventorySettings()
    haproxy: HaproxySettings = HaproxySettings()
    analysis: AnalysisSettings = AnalysisSettings()
    lease: LeaseSettings = LeaseSettings()
    limits: LimitsSettings = LimitsSettings()
    recipes: RecipesSettings = RecipesSettings()
    policy: PolicySettings = PolicySettings()
    artifacts: ArtifactsSettings = ArtifactsSettings()
    secrets: SecretsSettings = SecretsSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file; nothing else is read."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=settings_file())
