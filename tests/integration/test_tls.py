"""TLS to the broker, to the database and to whoever asks over HTTP: what works, and what a wrong certificate says."""

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import pytest
from tests.integration.http_site import MemoryReader
from tests.integration.postgres_server import PostgresServer, finished, new_server
from tests.integration.rabbit_server import RabbitServer, rabbit_server
from tests.integration.tls_authority import TlsAuthority

from vesemir.adapters.amqp.connection import dial
from vesemir.adapters.http import TlsFiles, http_app, serving
from vesemir.adapters.observe import PrometheusMeters
from vesemir.adapters.postgres.servers import Servers
from vesemir.adapters.postgres.timelines import Timelines
from vesemir.domain.failure import VesemirError
from vesemir.engine.ports.broker import BrokerAwayError
from vesemir.engine.ports.observe import SilentLog
from vesemir.engine.ports.store import StoreAwayError
from vesemir.engine.upkeep.health import HealthRegistry
from vesemir.settings import AmqpSettings

__all__ = ["rabbit_server"]

SECONDS = 10.0


def strangers(folder: Path) -> TlsAuthority:
    """Nobody knows it."""
    folder.mkdir(exist_ok=True)
    return TlsAuthority(folder, "Strangers")


# --- the broker -------------------------------------------------------------------------------------------------------


async def dialled(address: str) -> str:
    """The node's name, without a password. Raises ``BrokerAwayError``."""
    live = await dial(AmqpSettings(), address, seconds=SECONDS, name="test", log=SilentLog())
    await live.close()
    return live.node


def client_of(rabbit: RabbitServer) -> dict[str, object]:
    return {
        "cafile": rabbit.folder / "ca.pem",
        "certfile": rabbit.folder / "client.pem",
        "keyfile": rabbit.folder / "client-key.pem",
    }


async def test_amqps_with_an_authority_and_a_client_certificate(rabbit_server: RabbitServer) -> None:
    assert (await dialled(rabbit_server.tls_url(**client_of(rabbit_server)))).startswith("amqps://guest:******@")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cafile": "STRANGER/ca.pem"}, "is not trusted"),
        ({"cafile": "STRANGER/ca.pem"}, "name its authority by cafile in amqp.url"),
        ({"certfile": None, "keyfile": None}, "certfile and keyfile in amqp.url"),
        ({"certfile": "STRANGER/guest.pem", "keyfile": "STRANGER/guest-key.pem"}, "client certificate"),
        ({"cafile": "STRANGER/none.pem"}, "cafile in amqp.url: .*none.pem is not there"),
    ],
)
async def test_amqps_says_what_is_wrong(
    rabbit_server: RabbitServer, tmp_path: Path, changed: dict[str, str | None], words: str
) -> None:
    strangers(tmp_path / "s").sign("guest", address=None)
    own = {name: value and value.replace("STRANGER", str(tmp_path / "s")) for name, value in changed.items()}
    options = {name: value for name, value in {**client_of(rabbit_server), **own}.items() if value is not None}
    with pytest.raises(BrokerAwayError, match=words):
        await dialled(rabbit_server.tls_url(**options))


async def test_amqps_to_the_port_without_tls(rabbit_server: RabbitServer) -> None:
    query = urlencode({"cafile": rabbit_server.folder / "ca.pem"})
    with pytest.raises(BrokerAwayError, match="does not speak TLS on this port"):
        await dialled(f"amqps://guest:guest@127.0.0.1:{rabbit_server.port}/?{query}")


# --- the database -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certified() -> Iterator[PostgresServer]:
    """A PostgreSQL that takes TLS only, and whose user ``vesemir`` logs in with a client certificate."""
    server = new_server()
    contents = server.folder / "contents"
    try:
        server.initialise()
        authority = TlsAuthority(server.folder)
        files = [authority.file, *authority.sign("server"), *authority.sign("vesemir", address=None)]
        if os.geteuid() == 0:
            for file in files[:3]:
                shutil.chown(file, "postgres", "postgres")
        with (contents / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(
                f"ssl = on\nssl_ca_file = '{files[0]}'\nssl_cert_file = '{files[1]}'\nssl_key_file = '{files[2]}'\n"
            )
        server.start()
        (contents / "pg_hba.conf").write_text("hostssl all vesemir 127.0.0.1/32 cert\n", encoding="utf-8")
        finished(server.execute("SELECT pg_reload_conf()"))
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)


def dsn_of(server: PostgresServer, **changed: object) -> str:
    own: dict[str, object] = {
        "sslmode": "verify-full",
        "sslrootcert": server.folder / "ca.pem",
        "sslcert": server.folder / "vesemir.pem",
        "sslkey": server.folder / "vesemir-key.pem",
    }
    options = {name: value for name, value in {**own, **changed}.items() if value is not None}
    return f"{server.dsn('postgres')}?{urlencode(options)}"


async def connected(dsn: str) -> asyncpg.Connection:
    return await Servers(dsn, Timelines()).connect(timeout=SECONDS, command_timeout=SECONDS)


async def test_verify_full_with_a_client_certificate(certified: PostgresServer) -> None:
    connection = await connected(dsn_of(certified))
    try:
        row = await connection.fetchrow("SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    finally:
        await connection.close(timeout=SECONDS)
    assert (row["ssl"], row["client_dn"]) == (True, "/CN=vesemir")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sslrootcert": "STRANGER/ca.pem"}, "is not trusted .* name its authority by sslrootcert in postgres.dsn"),
        ({"sslrootcert": "STRANGER/none.pem"}, "sslrootcert in postgres.dsn: .*none.pem is not there"),
        ({"sslcert": "STRANGER/vesemir.pem", "sslkey": "STRANGER/vesemir-key.pem"}, "client certificate|connection"),
    ],
)
async def test_the_database_says_what_is_wrong(
    certified: PostgresServer, tmp_path: Path, changed: dict[str, str], words: str
) -> None:
    strangers(tmp_path / "s").sign("vesemir", address=None)
    own = {name: value.replace("STRANGER", str(tmp_path / "s")) for name, value in changed.items()}
    with pytest.raises((StoreAwayError, ConnectionError, asyncpg.PostgresError), match=words):
        await connected(dsn_of(certified, **own))


async def test_the_database_refuses_whoever_shows_no_certificate(certified: PostgresServer) -> None:
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="valid client certificate"):
        await connected(dsn_of(certified, sslcert=None, sslkey=None))


# --- HTTPS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> TlsAuthority:
    return TlsAuthority(tmp_path)


@pytest.fixture
async def https(authority: TlsAuthority) -> AsyncIterator[tuple[TlsFiles, int]]:
    files = TlsFiles(*authority.sign("here"), log=SilentLog())
    app = http_app(
        health=HealthRegistry(), meters=PrometheusMeters(), reader=MemoryReader(), token=None, log=SilentLog()
    )
    async with serving(app, "127.0.0.1", 0, log=SilentLog(), tls=files.context) as port:
        yield files, port


async def serial_seen(port: int, authority: TlsAuthority) -> str:
    """Of the certificate that a client who trusts the authority is shown; the answer is read."""
    context = ssl.create_default_context(cafile=authority.file)
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            shown = writer.get_extra_info("peercert")
            return str(shown["serialNumber"])
        finally:
            writer.close()


async def test_https_and_a_certificate_that_is_renewed(authority: TlsAuthority, https: tuple[TlsFiles, int]) -> None:
    files, port = https
    before = await serial_seen(port, authority)
    authority.sign("here")
    await asyncio.to_thread(files.refresh)
    after = await serial_seen(port, authority)
    assert (files.problem, before != after) == ("", True)


async def test_half_of_a_renewal_is_not_used(authority: TlsAuthority, https: tuple[TlsFiles, int]) -> None:
    """The new certificate is there and its key is not yet."""
    files, port = https
    before = await serial_seen(port, authority)
    key = (authority.folder / "here-key.pem").read_bytes()
    authority.sign("here")
    new = (authority.folder / "here-key.pem").read_bytes()
    (authority.folder / "here-key.pem").write_bytes(key)
    await asyncio.to_thread(files.refresh)
    assert "the key is of another certificate; what was read before stays in use" in files.problem
    assert await serial_seen(port, authority) == before
    (authority.folder / "here-key.pem").write_bytes(new)
    await asyncio.to_thread(files.refresh)
    assert (files.problem, await serial_seen(port, authority) != before) == ("", True)


async def test_a_client_that_does_not_begin_its_handshake_holds_up_nobody(
    authority: TlsAuthority, https: tuple[TlsFiles, int]
) -> None:
    _, port = https
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\n\r\n")  # plain text: the handshake fails
        with socket.create_connection(("127.0.0.1", port)):
            assert await serial_seen(port, authority)


@pytest.mark.parametrize(("left", "words"), [(timedelta(days=3), "ends on"), (-timedelta(hours=1), "ended on")])
async def test_a_certificate_that_ends_soon_is_told(authority: TlsAuthority, left: timedelta, words: str) -> None:
    files = TlsFiles(*authority.sign("old", valid=left), log=SilentLog())
    assert words in files.problem
    authority.sign("old")
    files.refresh()
    assert files.problem == ""


def test_files_that_cannot_be_used_refuse_the_start(authority: TlsAuthority, tmp_path: Path) -> None:
    certificate, _ = authority.sign("one")
    _, other = authority.sign("two")
    with pytest.raises(VesemirError, match=r"one\.pem and .*two-key\.pem cannot be used: the key is of another"):
        TlsFiles(certificate, other, log=SilentLog())
    with pytest.raises(VesemirError, match=r"none\.pem cannot be used: No such file"):
        TlsFiles(tmp_path / "none.pem", None, log=SilentLog())
