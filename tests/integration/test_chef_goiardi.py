"""The Chef adapter against goiardi, a real Chef server that verifies every signature."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from tests.integration.goiardi_server import CLIENT, GoiardiServer, goiardi_server, new_server, node
from tests.integration.tcp_proxy import proxied

from vesemir.adapters.chef import ChefInventory, ChefServer, check_chef
from vesemir.adapters.chef.paging import Page
from vesemir.adapters.chef.signing import signed_headers
from vesemir.domain.failure import FailedError, Failure, FailureCode, VesemirError
from vesemir.domain.selector import ChefSelector
from vesemir.domain.target import Target
from vesemir.settings import InventorySettings

__all__ = ["goiardi_server"]

pytestmark = pytest.mark.lab

FLEET = 3000
SPECIAL = [
    *"+-&|!(){}[]^\"~*?:\\/@%#$<>=,;'`.",
    *(f"a{character}b" for character in "+-&|!(){}[]^\"~*?:\\/ @%#$<>=,;'`."),
    "a::b", "a&&b", "a||b", "role[web]", "AND", "OR", "NOT", "AND-x", "ANDROID", "TO", "ü", "über", "日本", "a b c",
    "%2B", "%20", "a%5Cb", "\\*", "a\\", "\\\\",
    "x OR *:*", "x) OR (tags:*", "* TO *", "[a TO z]", "a*", "plain",
]  # fmt: skip
INJECTIONS = [
    "*", "?", "*:*", "a*", "?lain", "pl?in", "plai~", "plain~0.5", "plain^2", "plain OR tags:*", "plain OR *:*",
    "x OR *",
    "x\\ OR\\ *:*", "NOT x", "!x", "-x", "[* TO *]", "{a TO z}", "x) OR (tags:*", '" OR "', '"plain"',
    "plain\t", "Plain",
    "plain ", " plain",
    "plain,x", "pla", "tags:plain", "x&q=*:*", "x%26q=*:*", "x#", "plain\\", "plain*", "a%2Ab", "",
]  # fmt: skip


@asynccontextmanager
async def chef(server: GoiardiServer, **settings: Any) -> AsyncIterator[ChefInventory]:
    clock = settings.pop("clock", lambda: datetime.now(UTC))
    cluster = {"name": "lab", "url": server.url, "client_name": CLIENT, "client_key": server.client_key}
    cluster |= {"allowed_networks": ["127.0.0.0/8", "10.0.0.0/8"]} | settings
    async with ChefInventory.opened(
        InventorySettings.model_validate({"chef": cluster}), warn=pytest.fail, clock=clock
    ) as opened:
        assert opened is not None
        yield opened


async def failure_of(server: GoiardiServer, selector: ChefSelector, **settings: Any) -> Failure:
    async with chef(server, **settings) as inventory:
        with pytest.raises(FailedError) as caught:
            await inventory.resolve(selector)
    return caught.value.failure


@pytest.fixture(scope="module")
def shop(goiardi_server: GoiardiServer) -> GoiardiServer:
    web, web3, web10 = ({"cloud": {"local_ipv4": f"127.1.1.{number}"}} for number in (1, 3, 10))
    variables = {"vesemir": {"port": 2201, "user": "deploy", "variables": {"zone": "a", "workers": 4}}}
    goiardi_server.add(
        node("web10", tags=["shop-web"], roles=["web"], recipes=["shop", "shop::app"], automatic=web10),
        node("web2", tags=["shop-web", "canary"], roles=["web"], recipes=["shop"], automatic=web, normal=variables),
        node("web3", tags=["shop-web"], environment="staging", automatic=web3),
        node("lb1", tags=["shop-lb"], automatic={"ipaddress": None, "fqdn": "lb1.example.com"}),
        node("other", tags=["other"], automatic={"docker": {"tags": ["shop-web"]}}),
    )
    return goiardi_server


async def names(server: GoiardiServer, **selector: Any) -> list[str]:
    async with chef(server) as inventory:
        return [target.name for target in await inventory.resolve(ChefSelector(**selector))]


WEB2 = Target(
    "web2",
    "127.1.1.1",
    2201,
    "deploy",
    {"zone": "a", "workers": "4"},
    "chef lab: cloud.local_ipv4",
    claimed=frozenset({"zone", "workers"}),
)


async def test_boxes_and_load_balancers_are_found_by_their_tags(shop: GoiardiServer) -> None:
    async with chef(shop) as inventory:
        boxes = await inventory.resolve(ChefSelector(tags=("shop-web",), environment="production"))
        balancers = await inventory.resolve(ChefSelector(tags=("shop-lb",)))
    assert boxes == [
        WEB2,
        Target("web10", "127.1.1.10", 22, "", {}, "chef lab: cloud.local_ipv4"),
    ]
    assert balancers == [Target("lb1", "lb1.example.com", source="chef lab: fqdn")]


async def test_everything_that_is_named_must_hold(shop: GoiardiServer) -> None:
    assert await names(shop, tags=("shop-web",)) == ["web2", "web3", "web10"], "and not the one with docker.tags"
    assert await names(shop, tags=("shop-web", "canary")) == ["web2"]
    assert await names(shop, roles=("web",), recipes=("shop::app",)) == ["web10"]
    assert await names(shop, recipes=("shop",)) == ["web2", "web10"]
    assert await names(shop, tags=("shop-web",), environment="staging") == ["web3"]


async def test_a_search_without_results_is_no_success(shop: GoiardiServer) -> None:
    failure = await failure_of(shop, ChefSelector(tags=("shop-wbe",)))
    assert failure.code is FailureCode.TARGETS_NONE_FOUND
    assert "shop-wbe" in failure.message


@pytest.fixture(scope="module")
def peculiar(goiardi_server: GoiardiServer) -> dict[str, str]:
    """A node for each peculiar value, by its tag."""
    found = {value: f"peculiar{number}" for number, value in enumerate(SPECIAL)}
    goiardi_server.add(*(node(name, tags=[value], roles=[value]) for value, name in found.items()))
    return found


async def test_values_with_every_special_character_find_exactly_what_they_name(
    goiardi_server: GoiardiServer, peculiar: dict[str, str]
) -> None:
    async with chef(goiardi_server) as inventory:
        for value, name in peculiar.items():
            for selector in (ChefSelector(tags=(value,)), ChefSelector(roles=(value,), environment="production")):
                assert [target.name for target in await inventory.resolve(selector)] == [name], value


async def found_by(inventory: ChefInventory, selector: ChefSelector) -> list[str]:
    try:
        return [target.name for target in await inventory.resolve(selector)]
    except FailedError as error:
        if error.failure.code is not FailureCode.TARGETS_NONE_FOUND:
            raise
        return []


@pytest.mark.parametrize("value", INJECTIONS)
async def test_attempts_to_inject_query_syntax_find_nothing_but_what_they_name(
    goiardi_server: GoiardiServer, peculiar: dict[str, str], value: str
) -> None:
    async with chef(goiardi_server) as inventory:
        named = [peculiar[value]] if value in peculiar else []
        assert await found_by(inventory, ChefSelector(tags=(value,))) == named
        assert await found_by(inventory, ChefSelector(tags=("plain",), environment=value or "*")) == []


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[GoiardiServer, list[str]]]:
    """On a server of its own: goiardi looks at every node for every search."""
    names = [f"fleet{number:04}" for number in range(FLEET)]
    server = new_server()
    try:
        server.start()
        server.add(*(node(name, tags=["fleet"]) for name in names))
        yield server, names
    finally:
        server.stop()
        shutil.rmtree(server.folder)


async def test_three_thousand_nodes_are_found_completely_over_pages(
    fleet: tuple[GoiardiServer, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First undisturbed; then with nodes deleted from pages that were read already, before the next page is."""
    server, names = fleet
    gone = names[10:300:7]
    search, started, asked = ChefServer.search, time.monotonic(), []

    async def search_and_count(self: ChefServer, query: str, wanted: Mapping[str, list[str]], *, start: int) -> Page:
        asked.append(start)
        if asked == [0, 1000, 2000, 3000, 0, 1000, 2000, 3000, 0, 1000]:
            await asyncio.to_thread(server.delete, *gone)
        return await search(self, query, wanted, start=start)

    monkeypatch.setattr(ChefServer, "search", search_and_count)
    async with chef(server, timeout_seconds=30) as inventory:
        found = await inventory.resolve(ChefSelector(tags=("fleet",)))
        assert [target.name for target in found] == names
        assert time.monotonic() - started < 60
        found = await inventory.resolve(ChefSelector(tags=("fleet",)))
    assert [target.name for target in found] == [name for name in names if name not in gone]
    assert asked.count(0) >= 4, "what changed in between was read again"


def another_key(folder: Path) -> Path:
    file = folder / "another.pem"
    key = generate_private_key(65537, 2048)
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


async def test_a_wrong_key_an_unknown_client_and_a_wrong_clock_are_told_apart(
    shop: GoiardiServer, tmp_path: Path
) -> None:
    web = ChefSelector(tags=("shop-web",))
    wrong_key = await failure_of(shop, web, client_key=another_key(tmp_path))
    unknown = await failure_of(shop, web, client_name="nobody")
    late = await failure_of(shop, web, clock=lambda: datetime.now(UTC) - timedelta(minutes=20))
    early = await failure_of(shop, web, clock=lambda: datetime.now(UTC) + timedelta(minutes=20))
    assert {failure.code for failure in (wrong_key, unknown, late, early)} == {FailureCode.TARGETS_INVENTORY_DENIED}
    assert "client_key is not the key that it has of this client" in wrong_key.message
    assert "does not know the client nobody" in unknown.message
    assert "our clock is 20 minutes behind its: set the clocks right" in late.message
    assert "our clock is 20 minutes ahead of its" in early.message


async def test_a_clock_that_is_a_little_off_does_no_harm(shop: GoiardiServer) -> None:
    async with chef(shop, clock=lambda: datetime.now(UTC) - timedelta(minutes=10)) as inventory:
        assert await inventory.resolve(ChefSelector(tags=("shop-lb",)))


@pytest.mark.parametrize("changed", ["method", "path", "body", "X-Ops-Timestamp", "X-Ops-Userid", "signature", "none"])
async def test_the_server_takes_our_signature_and_refuses_any_other(shop: GoiardiServer, changed: str) -> None:
    key = load_pem_private_key(shop.client_key.read_bytes(), password=None)
    assert isinstance(key, RSAPrivateKey)
    method, path, body = "POST", "/search/node", b'{"name": ["name"]}'
    headers = signed_headers(key, method, path, body, client_name=CLIENT, moment=datetime.now(UTC))
    if changed == "method":
        headers = signed_headers(key, "PUT", path, body, client_name=CLIENT, moment=datetime.now(UTC))
    elif changed == "path":
        path = "/search/client"
    elif changed == "body":
        body = b'{"name": ["nam"]}'
    elif changed == "X-Ops-Timestamp":
        headers[changed] = (datetime.now(UTC) - timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    elif changed == "X-Ops-Userid":
        headers[changed] = "admin"
    elif changed == "signature":
        line = headers["X-Ops-Authorization-3"]
        headers["X-Ops-Authorization-3"] = ("A" if line[0] != "A" else "B") + line[1:]
    headers |= {"Content-Type": "application/json", "Accept": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{shop.url}{path}?q=tags:shop-lb", data=body, headers=headers) as answer,
    ):
        assert answer.status == (200 if changed == "none" else 401), await answer.text()


async def test_a_server_that_went_away_or_falls_silent_is_unreachable(shop: GoiardiServer) -> None:
    web = ChefSelector(tags=("shop-web",))
    async with proxied(shop.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with chef(shop, url=url, timeout_seconds=0.5, attempts=2) as inventory:
            assert len(await inventory.resolve(web)) == 3
            proxy.blackhole()
            with pytest.raises(FailedError, match=r"has not answered within 0\.5 s") as silent:
                await inventory.resolve(web)
            await proxy.refuse()
            with pytest.raises(FailedError, match="cannot be reached") as away:
                await inventory.resolve(web)
            proxy.heal()
            await proxy.listen()
            assert len(await inventory.resolve(web)) == 3, "and it is asked again as soon as it is back"
    codes = {silent.value.failure.code, away.value.failure.code}
    assert codes == {FailureCode.TARGETS_INVENTORY_UNREACHABLE}


async def test_malformed_and_missing_addresses_stop_the_deployment(goiardi_server: GoiardiServer) -> None:
    goiardi_server.add(
        node("bare1", tags=["bare"], automatic={"ipaddress": None}),
        node("bare2", tags=["bare"], automatic={"ipaddress": "10.0.0.300"}),
        node("bare3", tags=["bare"]),
    )
    failure = await failure_of(goiardi_server, ChefSelector(tags=("bare",)))
    assert failure.code is FailureCode.TARGETS_INVALID_ATTRIBUTES
    assert "2 of 3 nodes" in failure.message
    assert "'bare1': it has none of cloud.local_ipv4, ipaddress, fqdn" in failure.message
    assert "'bare2': ipaddress" in failure.message


async def test_check_asks_every_server_of_the_settings(shop: GoiardiServer, tmp_path: Path) -> None:
    good = {"url": shop.url, "client_name": CLIENT, "client_key": shop.client_key}
    assert await check_chef(InventorySettings()) == []
    assert await check_chef(InventorySettings.model_validate({"chef_clusters": {"lab": good}})) == [
        f"the Chef server lab ({shop.url}) answers vesemir"
    ]
    bad = {"strange": good | {"client_name": "nobody"}, "keyless": good | {"client_key": tmp_path / "none.pem"}}
    with pytest.raises(VesemirError) as caught:
        await check_chef(InventorySettings.model_validate({"chef": good, "chef_clusters": bad}))
    strange, keyless = str(caught.value).splitlines()
    assert "does not know the client nobody" in strange
    assert "cannot be read: No such file" in keyless
