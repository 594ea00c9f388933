"""Whatever a server does, the failure says what it was and what to do next. Played by a server in this process."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from vesemir.adapters.chef import ChefInventory, ChefSettingsError
from vesemir.adapters.inventory import InventoryRouter
from vesemir.domain.failure import FailedError, Failure, FailureCode
from vesemir.domain.problem import Problem
from vesemir.domain.selector import ChefSelector, GroupSelector
from vesemir.domain.target import Target
from vesemir.settings import InventorySettings

UNREACHABLE = FailureCode.TARGETS_INVENTORY_UNREACHABLE
DENIED = FailureCode.TARGETS_INVENTORY_DENIED
WEB = ChefSelector(tags=("web",))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_key(tmp_path_factory.mktemp("keys") / "vesemir.pem", generate_private_key(65537, 2048))


def write_key(file: Path, key: Any) -> Path:
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return file


@asynccontextmanager
async def serving(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of a server that does with every request what ``handler`` does."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def inventory(url: str, key: Path, **settings: Any) -> AsyncIterator[ChefInventory]:
    chef = {"name": "lab", "url": url, "client_name": "vesemir", "client_key": key, "timeout_seconds": 5} | settings
    warn = settings.pop("warn", pytest.fail)
    chef.pop("warn", None)
    async with ChefInventory.opened(InventorySettings.model_validate({"chef": chef}), warn=warn) as opened:
        assert opened is not None
        yield opened


def answers(*replies: web.Response) -> tuple[Handler, list[web.Request]]:
    """One after the other, the last one for ever; and what was asked."""
    asked: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        reply = replies[min(len(asked), len(replies) - 1)]
        asked.append(request)
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    return handler, asked


def nodes(*rows: dict[str, Any]) -> web.Response:
    return web.json_response({"total": len(rows), "start": 0, "rows": [{"url": "x", "data": row} for row in rows]})


def node(name: str, **attributes: Any) -> dict[str, Any]:
    own = {"name": name, "tags": ["web"], "converged": datetime.now(UTC).timestamp(), "attribute ipaddress": "10.0.0.1"}
    return own | attributes


async def fails(replies: Sequence[web.Response], key: Path, selector: ChefSelector = WEB) -> tuple[Failure, int]:
    """The failure, and how often the server was asked for it."""
    handler, asked = answers(*replies)
    async with serving(handler) as url, inventory(url, key) as chef:
        with pytest.raises(FailedError) as caught:
            await chef.resolve(selector)
        assert f"the Chef server lab ({url})" in caught.value.failure.message
    return caught.value.failure, len(asked)


def says(status: int, text: str, **headers: str) -> web.Response:
    return web.json_response({"error": [text]}, status=status, headers=headers)


W = {"attribute ipaddress": "w"}


async def test_nodes_become_targets_each_once_in_the_order_of_their_names(key: Path) -> None:
    handler, asked = answers(
        nodes(node("web10", **{"attribute ipaddress": "v"}), node("web2"), node("web2"), node("web1", **W))
    )
    async with serving(handler) as url, inventory(url, key) as chef:
        targets = await chef.resolve(WEB)
    assert [target.name for target in targets] == ["web1", "web2", "web10"]
    assert targets[0] == Target("web1", "w", 22, "", {}, "chef lab: ipaddress")
    (request,) = asked
    assert (request.method, request.path) == ("POST", "/search/node")
    assert dict(request.query) == {"q": "tags:web", "rows": "1000", "start": "0", "sort": "url asc"}


@pytest.mark.parametrize(
    ("path", "organization", "asked_path"),
    [
        ("", None, "/search/node"),
        ("/", "shop", "/organizations/shop/search/node"),
        ("/organizations/shop/", None, "/organizations/shop/search/node"),
        ("/chef", "shop", "/chef/organizations/shop/search/node"),
    ],
)
async def test_the_organization_stands_in_its_setting_or_in_the_url(
    key: Path, path: str, organization: str | None, asked_path: str
) -> None:
    handler, asked = answers(nodes(node("web1")))
    async with serving(handler) as url, inventory(url + path, key, organization=organization) as chef:
        await chef.resolve(WEB)
    assert asked[0].path == asked_path


async def test_nothing_found_is_told_apart_from_a_search_that_failed(key: Path) -> None:
    failure, asked = await fails([nodes()], key, ChefSelector(tags=("shop-wbe",), environment="production"))
    assert failure.code is FailureCode.TARGETS_NONE_FOUND
    assert "tags 'shop-wbe' and environment 'production'" in failure.message
    assert "knife search node 'tags:shop-wbe AND chef_environment:production'" in failure.message
    assert asked == 1


async def test_nodes_that_the_index_finds_but_that_do_not_have_it_are_no_targets(key: Path) -> None:
    """The index lags, and finds ``docker.tags`` for ``tags`` too."""
    handler, _ = answers(nodes(node("web1"), node("web2", tags=["webx"]), node("web3", tags=None)))
    async with serving(handler) as url, inventory(url, key) as chef:
        assert [target.name for target in await chef.resolve(WEB)] == ["web1"]
    failure, _ = await fails([nodes(node("web2", tags=[]))], key)
    assert failure.code is FailureCode.TARGETS_NONE_FOUND
    assert "1 that its index finds do not have it now" in failure.message


AUTHENTICATION = "Failed to authenticate as 'vesemir'. Ensure that your node_name and client key are correct."


@pytest.mark.parametrize(
    ("reply", "code", "advice"),
    [
        (says(401, AUTHENTICATION), DENIED, "does not know the client vesemir, or by another key"),
        (says(401, "crypto/rsa: verification error"), DENIED, "client_key is not the key that it has"),
        (says(401, "Invalid signature for user or client 'vesemir'"), DENIED, "client_key is not the key that it has"),
        (
            says(401, "Failed to authenticate as vesemir. Synchronize the clock on your host."),
            DENIED,
            "set ours and its",
        ),
        (says(403, "missing read permission"), DENIED, "give it read permission on nodes"),
        (says(404, "organization 'x' does not exist"), UNREACHABLE, "an organization may be missing in the settings"),
        (says(400, "invalid search query: 'x'"), UNREACHABLE, "cannot read the search or its attributes: invalid"),
        (says(413, "too large"), UNREACHABLE, "answers 413"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), UNREACHABLE, "set its own URL"),
        (web.Response(text="<html>login</html>", content_type="text/html"), UNREACHABLE, "text/html that is no JSON"),
        (web.Response(text="", content_type="application/json"), UNREACHABLE, "is no JSON"),
        (web.json_response([1]), UNREACHABLE, "no Chef search's"),
        (web.json_response({"rows": [{"name": "web1"}], "total": 1}), UNREACHABLE, "no Chef search's"),
        (web.json_response({"rows": [{"data": {"name": 1}}], "total": 1}), UNREACHABLE, "no Chef search's"),
        (web.json_response({"rows": [], "total": None}), UNREACHABLE, "no Chef search's"),
    ],
)
async def test_a_refusal_is_told_at_once_with_its_own_advice(
    key: Path, reply: web.Response, code: FailureCode, advice: str
) -> None:
    failure, asked = await fails([reply], key)
    assert failure.code is code
    assert advice in failure.message
    assert asked == 1


@pytest.mark.parametrize(
    ("minutes", "advice"), [(40, "40 minutes behind"), (-40, "40 minutes ahead of"), (1, "the key")]
)
async def test_a_clock_that_is_far_off_is_the_reason_of_a_refusal(key: Path, minutes: int, advice: str) -> None:
    theirs = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    failure, _ = await fails([says(401, "Invalid signature", Date=theirs)], key)
    assert failure.code is DENIED
    assert advice in failure.message


async def test_a_date_that_cannot_be_read_hides_no_refusal(key: Path) -> None:
    failure, _ = await fails([says(401, "Invalid signature", Date="yesterday")], key)
    assert "client_key is not the key" in failure.message


async def test_what_a_server_says_is_one_short_line_in_our_message(key: Path) -> None:
    failure, _ = await fails([web.Response(status=418, body=b"a\x1b[31m\n\xff" + b"b" * 5000)], key)
    assert "a [31m \ufffdbbb" in failure.message
    assert len(failure.message) < 600


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_passing_trouble_is_tried_again(key: Path, status: int) -> None:
    handler, asked = answers(says(status, "later"), nodes(node("web1")))
    async with serving(handler) as url, inventory(url, key) as chef:
        assert [target.name for target in await chef.resolve(WEB)] == ["web1"]
    assert len(asked) == 2
    assert all("X-Ops-Authorization-1" in request.headers for request in asked)


async def test_trouble_that_does_not_pass_is_told_after_so_many_attempts(key: Path) -> None:
    failure, asked = await fails([web.Response(status=503, text="<html>Sorry</html>")], key)
    assert (failure.code, asked) == (UNREACHABLE, 3)
    assert "answers 503: look at its log. It says: <html>Sorry</html>" in failure.message


async def test_a_server_that_is_down_is_told_with_its_address(key: Path) -> None:
    async def never(_request: web.Request) -> web.Response:
        raise AssertionError("it is down")

    async with serving(never) as url:
        pass
    async with inventory(url, key, attempts=2) as chef:
        with pytest.raises(FailedError, match=r"cannot be reached: .* check that it runs") as caught:
            await chef.resolve(WEB)
    assert caught.value.failure.code is UNREACHABLE


@pytest.mark.parametrize("part", [b"", b'{"total": 1, "rows": ['])
async def test_a_server_that_is_slow_is_told_with_how_long_it_was_waited_for(key: Path, part: bytes) -> None:
    """Before the answer begins, and in its middle."""
    hold = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if part:
            await response.prepare(request)
            await response.write(part)
        await hold.wait()
        return response

    async with serving(handler) as url, inventory(url, key, timeout_seconds=0.2, attempts=2) as chef:
        with pytest.raises(FailedError, match=r"has not answered within 0\.2 s; look at its load") as caught:
            await chef.resolve(WEB)
        hold.set()
    assert caught.value.failure.code is UNREACHABLE


async def test_a_search_of_many_pages_has_a_deadline(key: Path) -> None:
    hold = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.query["start"] != "0":
            await hold.wait()
        return nodes(node(f"web{request.query['start']}"))

    async with serving(handler) as url, inventory(url, key, rows=1, deadline_seconds=0.3) as chef:
        with pytest.raises(FailedError, match=r"not finished the search within 0\.3 s") as caught:
            await chef.resolve(WEB)
        hold.set()
    assert caught.value.failure.code is UNREACHABLE


async def test_a_connection_that_breaks_in_the_middle_is_tried_again(key: Path) -> None:
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked == 1:
            assert request.transport is not None
            request.transport.abort()
        return nodes(node("web1"))

    async with serving(handler) as url, inventory(url, key) as chef:
        assert len(await chef.resolve(WEB)) == 1
    assert asked == 2


def authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of our own for 127.0.0.1, and a server that shows it."""
    key = generate_ec_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chef.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate = folder / "ca.pem"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, write_key(folder / "tls.pem", key))
    return certificate, context


async def test_a_server_is_trusted_by_the_authority_of_the_settings_and_only_so(key: Path, tmp_path: Path) -> None:
    certificate, tls = authority(tmp_path)
    handler, asked = answers(nodes(node("web1")))
    async with serving(handler, tls=tls) as url:
        async with inventory(url, key, ca_file=certificate) as chef:
            assert len(await chef.resolve(WEB)) == 1
        async with inventory(url, key) as chef:
            with pytest.raises(FailedError, match=r"cannot be trusted: .* ca_file in the settings") as caught:
                await chef.resolve(WEB)
    assert caught.value.failure.code is UNREACHABLE
    assert len(asked) == 1


async def test_nodes_without_a_usable_address_stop_the_deployment_and_are_named(key: Path) -> None:
    rows = [node("web1"), node("web2", **{"attribute ipaddress": None}), node("web3", **{"attribute ipaddress": "!"})]
    failure, _ = await fails([nodes(*rows)], key)
    assert failure.code is FailureCode.TARGETS_INVALID_ATTRIBUTES
    assert "2 of 3 nodes" in failure.message
    assert "'web2': it has none of cloud.local_ipv4, ipaddress, fqdn; 'web3': ipaddress: '!'" in failure.message
    many = [node(f"web{number}", **{"attribute ipaddress": "!"}) for number in range(40)]
    failure, _ = await fails([nodes(*many)], key)
    assert "and 35 more" in failure.message


async def test_nodes_that_have_not_converged_for_long_are_reported_and_used(key: Path) -> None:
    said: list[str] = []
    handler, _ = answers(
        nodes(
            node("web1"),
            node("web2", converged=1_700_000_000, **{"attribute ipaddress": "10.0.0.2"}),
            node("web3", converged=None, **{"attribute ipaddress": "10.0.0.3"}),
        )
    )
    async with serving(handler) as url, inventory(url, key, warn=said.append) as chef:
        targets = await chef.resolve(WEB)
    assert [target.source.partition("(")[2][:13] for target in targets] == ["", "not converged", "never converg"]
    (warning,) = said
    assert "2 of 3 nodes" in warning
    assert "web2; web3" in warning


async def test_a_raw_query_is_forbidden_unless_the_operator_allows_it(key: Path) -> None:
    raw = ChefSelector(query="fqdn:web* OR NOT tags:x")
    handler, asked = answers(nodes(node("web1", tags=[])))
    async with serving(handler) as url, inventory(url, key) as chef:
        (problem,) = chef.refuse(raw)
        assert (problem.field, problem.code) == ("chef.query", FailureCode.REQUEST_FORBIDDEN)
        with pytest.raises(FailedError) as caught:
            await chef.resolve(raw)
        assert caught.value.failure.code is FailureCode.REQUEST_FORBIDDEN
        assert asked == []
    async with serving(handler) as url, inventory(url, key, allow_raw_query=True) as chef:
        assert chef.refuse(raw) == []
        assert [target.name for target in await chef.resolve(raw)] == ["web1"]
    assert asked[0].query["q"] == "fqdn:web* OR NOT tags:x"
    handler, _ = answers(says(400, "invalid search query: '))'"))
    async with serving(handler) as url, inventory(url, key, allow_raw_query=True) as chef:
        with pytest.raises(FailedError, match="cannot read the search") as caught:
            await chef.resolve(ChefSelector(query="))"))
    assert caught.value.failure.code is FailureCode.REQUEST_INVALID


async def test_each_cluster_is_asked_by_its_name_and_the_default_without_one(key: Path) -> None:
    def server(name: str) -> Handler:
        return answers(nodes(node(name)))[0]

    common = {"client_name": "vesemir", "client_key": key}
    async with serving(server("of-main")) as main, serving(server("of-west")) as west:
        settings = InventorySettings.model_validate(
            {"chef": {"name": "main", "url": main, **common}, "chef_clusters": {"west": {"url": west, **common}}}
        )
        async with ChefInventory.opened(settings, warn=pytest.fail) as chef:
            router = InventoryRouter(static=None, chef=chef)
            for cluster, name in (("", "of-main"), ("main", "of-main"), ("west", "of-west")):
                selector = ChefSelector(tags=("web",), cluster=cluster)
                assert router.refuse(selector) == []
                (target,) = await router.resolve(selector)
                assert (target.name, target.source.split(":")[0]) == (name, f"chef {cluster or 'main'}")
            unknown = ChefSelector(tags=("web",), cluster="east")
            expected = Problem("chef.cluster", "must be one of: main, west", FailureCode.REQUEST_INVALID)
            assert router.refuse(unknown) == [expected]
            with pytest.raises(FailedError, match="main, west"):
                await router.resolve(unknown)


async def test_with_several_clusters_and_no_default_a_request_must_name_one(key: Path) -> None:
    def of(*names: str) -> InventorySettings:
        cluster = {"url": "http://127.0.0.1:1", "client_name": "vesemir", "client_key": key}
        return InventorySettings.model_validate({"chef_clusters": dict.fromkeys(names, cluster)})

    async with ChefInventory.opened(of("east", "west"), warn=pytest.fail) as chef:
        assert chef is not None
        (problem,) = chef.refuse(WEB)
        assert "is missing; it must be one of: east, west" in problem.message
        assert chef.refuse(GroupSelector(("web",))) == []
        with pytest.raises(FailedError, match="only asked for Chef selectors"):
            await chef.resolve(GroupSelector(("web",)))
    async with ChefInventory.opened(of("east"), warn=pytest.fail) as chef:
        assert chef is not None
        assert chef.refuse(WEB) == []
    async with ChefInventory.opened(of(), warn=pytest.fail) as chef:
        assert chef is None


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda _file: None, "cannot be read: No such file"),
        (lambda file: file.write_text("-----BEGIN RSA PRIVATE KEY-----\n"), "no private key as PEM"),
        (lambda file: write_key(file, generate_ec_key(SECP256R1())), "no RSA key"),
        (
            lambda file: file.write_bytes(
                generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, _encrypted())
            ),
            "without a passphrase",
        ),
    ],
)
async def test_a_key_that_cannot_be_used_is_told_at_the_start(
    tmp_path: Path, write: Callable[[Path], object], reason: str
) -> None:
    file = tmp_path / "key.pem"
    write(file)
    with pytest.raises(ChefSettingsError, match=reason):
        async with inventory("http://127.0.0.1:1", file):
            pass


def _encrypted() -> Any:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption  # noqa: PLC0415

    return BestAvailableEncryption(b"secret")


@pytest.mark.parametrize("text", [None, "no certificate"])
async def test_a_ca_file_that_cannot_be_used_is_told_at_the_start(key: Path, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ChefSettingsError, match=r"ca_file .*ca\.pem of the Chef server lab cannot be used"):
        async with inventory("http://127.0.0.1:1", key, ca_file=file):
            pass
