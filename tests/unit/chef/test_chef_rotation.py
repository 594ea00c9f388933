"""A client key or an authority that changes on disk is used by the next search; what is broken never replaces it."""

import asyncio
from datetime import datetime
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.unit.chef.test_chef_answers import WEB, authority, inventory, node, nodes, says, serving, write_key
from tests.unit.engine.world import Lines

from vesemir.adapters.chef import ChefInventory
from vesemir.adapters.chef.signing import signed_headers
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.settings import InventorySettings


class KeyedServer:
    """Knows the client by one key, and refuses a signature of any other."""

    def __init__(self, key: Path) -> None:
        self.asked = 0
        self.knows(key)

    def knows(self, key: Path) -> None:
        read = load_pem_private_key(key.read_bytes(), password=None)
        assert isinstance(read, RSAPrivateKey)
        self._key = read

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        body = await request.read()
        moment = datetime.fromisoformat(request.headers["X-Ops-Timestamp"])
        expected = signed_headers(self._key, "POST", request.path, body, client_name="vesemir", moment=moment)
        good = all(request.headers[name] == value for name, value in expected.items())
        return nodes(node("web1")) if good else says(401, "Invalid signature for user or client 'vesemir'")


async def test_a_key_that_is_refused_is_read_again_and_the_search_goes_on(tmp_path: Path) -> None:
    """Before, every search was refused until a restart."""
    file = write_key(tmp_path / "vesemir.pem", generate_private_key(65537, 2048))
    server = KeyedServer(file)
    async with serving(server.answer) as url, inventory(url, file) as chef:
        assert len(await chef.resolve(WEB)) == 1
        server.knows(write_key(file, generate_private_key(65537, 2048)))
        assert len(await chef.resolve(WEB)) == 1
        assert server.asked == 3
        server.knows(write_key(tmp_path / "other.pem", generate_private_key(65537, 2048)))
        with pytest.raises(FailedError) as caught:
            await chef.resolve(WEB)
        assert caught.value.failure.code is FailureCode.TARGETS_INVENTORY_DENIED
        assert server.asked == 4  # the file has no other key: nothing is tried again


async def test_a_key_is_read_on_reload_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file, log = write_key(tmp_path / "vesemir.pem", generate_private_key(65537, 2048)), Lines()
    server = KeyedServer(file)
    async with serving(server.answer) as url:
        settings = {"name": "lab", "url": url, "client_name": "vesemir", "client_key": file}
        given = InventorySettings.model_validate({"chef": settings})
        async with ChefInventory.opened(given, warn=pytest.fail, log=log) as chef:
            assert chef is not None
            await asyncio.to_thread(file.write_text, "half a key")
            chef.refresh()
            assert "no private key as PEM" in chef.problem
            assert "what was read before stays in use" in chef.problem
            chef.refresh()
            assert log.of("error") == [chef.problem]
            assert len(await chef.resolve(WEB)) == 1
            server.knows(write_key(file, generate_private_key(65537, 2048)))
            chef.refresh()
            assert chef.problem == ""
            assert len(await chef.resolve(WEB)) == 1
    assert server.asked == 2
    assert log.of("info") == ["the client key of the Chef server lab was read again"]


async def test_an_authority_that_changes_is_read_again_when_the_certificate_cannot_be_trusted(tmp_path: Path) -> None:
    file = write_key(tmp_path / "vesemir.pem", generate_private_key(65537, 2048))
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (old, _), (new, tls) = authority(tmp_path / "old"), authority(tmp_path / "new")
    async with serving(KeyedServer(file).answer, tls=tls) as url, inventory(url, file, ca_file=old) as chef:
        with pytest.raises(FailedError, match="cannot be trusted"):
            await chef.resolve(WEB)
        new.replace(old)
        assert len(await chef.resolve(WEB)) == 1
