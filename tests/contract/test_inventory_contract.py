"""What every inventory promises the engine; the fake and the real ones pass the same suite.

Groups and hosts by name are the static inventory's own; what stands at the end holds for a Chef server's tags too.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.inventory import FakeInventory
from tests.integration.goiardi_server import CLIENT, GoiardiServer, goiardi_server, node

from vesemir.adapters.chef import ChefInventory
from vesemir.adapters.inventory import InventoryRouter, StaticInventory
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.selector import ChefSelector, GroupSelector, HostSelector, Selector
from vesemir.domain.target import Target
from vesemir.engine.ports.inventory import Inventory
from vesemir.settings import InventorySettings

__all__ = ["goiardi_server"]

FILE = """
[groups.web]
hosts = ["web2", "web1", "web10"]
[groups.lb]
hosts = ["lb1", "web1"]
[groups.empty]
[hosts.web1]
address = "127.0.0.1"
port = 2201
user = "root"
[hosts.web1.variables]
zone = "a"
"""


def _fake(_folder: Path) -> Inventory:
    web1 = Target("web1", "127.0.0.1", 2201, "root", {"zone": "a"}, "inventory web1: address")
    others = [Target(name, name) for name in ("web2", "web10", "lb1")]
    return FakeInventory([web1, *others], groups={"web": ["web2", "web1", "web10"], "lb": ["lb1", "web1"], "empty": []})


def _static(folder: Path) -> StaticInventory:
    file = folder / "inventory.toml"
    file.write_text(FILE)
    return StaticInventory.load(file, warn=pytest.fail)


def _routed(folder: Path) -> Inventory:
    return InventoryRouter(static=_static(folder), chef=None)


@pytest.fixture(params=[_fake, _static, _routed])
def inventory(request: pytest.FixtureRequest, tmp_path: Path) -> Inventory:
    return request.param(tmp_path)  # type: ignore[no-any-return]


async def test_a_group_gives_its_hosts_as_listed(inventory: Inventory) -> None:
    targets = await inventory.resolve(GroupSelector(("web",)))
    assert [target.name for target in targets] == ["web2", "web1", "web10"]


async def test_a_host_in_two_groups_is_one_target(inventory: Inventory) -> None:
    targets = await inventory.resolve(GroupSelector(("lb", "web")))
    assert [target.name for target in targets] == ["lb1", "web1", "web2", "web10"]


async def test_a_host_named_twice_is_one_target(inventory: Inventory) -> None:
    targets = await inventory.resolve(HostSelector(("web10", "web1", "web10")))
    assert [target.name for target in targets] == ["web10", "web1"]


async def test_a_target_has_address_port_user_variables_and_where_they_come_from(inventory: Inventory) -> None:
    (target,) = await inventory.resolve(HostSelector(("web1",)))
    assert (target.address, target.port, target.user, target.variables) == ("127.0.0.1", 2201, "root", {"zone": "a"})
    assert target.source == "inventory web1: address"


async def test_a_host_without_address_has_its_name_as_address(inventory: Inventory) -> None:
    (target,) = await inventory.resolve(HostSelector(("web2",)))
    assert (target.address, target.port, target.user) == ("web2", 22, "")


@pytest.mark.parametrize("name", ["web9", "", "-web1", "web1;id", "web1\n", "wéb1", "w" * 254, "$(id)", "web[1:2]"])
async def test_a_host_that_it_does_not_have_is_refused_at_once_and_never_resolved(
    inventory: Inventory, name: str
) -> None:
    selector = HostSelector(("web1", name))
    assert [problem.field for problem in inventory.refuse(selector)] == ["hosts[1]"]
    with pytest.raises(FailedError) as caught:
        await inventory.resolve(selector)
    assert caught.value.failure.code is FailureCode.TARGETS_UNKNOWN_HOST


async def test_a_group_that_it_does_not_have_is_refused_at_once_and_never_resolved(inventory: Inventory) -> None:
    selector = GroupSelector(("web", "wbe"))
    (problem,) = inventory.refuse(selector)
    assert problem.field == "inventory.groups[1]"
    assert "wbe" in problem.message
    with pytest.raises(FailedError) as caught:
        await inventory.resolve(selector)
    assert caught.value.failure.code is FailureCode.TARGETS_UNKNOWN_HOST


async def test_what_it_has_is_not_refused(inventory: Inventory) -> None:
    assert inventory.refuse(GroupSelector(("web", "lb", "empty"))) == []
    assert inventory.refuse(HostSelector(("web1", "lb1"))) == []


async def test_nothing_found_is_a_failure_and_never_an_empty_list(inventory: Inventory) -> None:
    with pytest.raises(FailedError) as caught:
        await inventory.resolve(GroupSelector(("empty",)))
    assert caught.value.failure.code is FailureCode.TARGETS_NONE_FOUND


@dataclass(frozen=True, slots=True)
class Subject:
    """An inventory, with selectors for web1, web2 and web10, for web1 alone, and for nothing."""

    inventory: Inventory
    several: Selector
    one: Selector
    nothing: Selector


def _by_group(inventory: Inventory) -> Subject:
    return Subject(inventory, GroupSelector(("web",)), HostSelector(("web1",)), GroupSelector(("empty",)))


def _by_tag(inventory: Inventory) -> Subject:
    tags = [ChefSelector(tags=(tag,), environment="production") for tag in ("contract-web", "contract-1", "contract-0")]
    return Subject(inventory, *tags)


def _fill(server: GoiardiServer) -> None:
    own = {"vesemir": {"port": 2201, "user": "root", "variables": {"zone": "a"}}}
    server.add(
        node("web1", tags=["contract-web", "contract-1"], normal=own, automatic={"ipaddress": "127.0.0.1"}),
        node("web2", tags=["contract-web"], automatic={"ipaddress": None, "fqdn": "web2"}),
        node("web10", tags=["contract-web"], automatic={"ipaddress": None, "fqdn": "web10"}),
        node("web3", tags=["contract-web"], environment="staging"),
    )


@pytest.fixture(params=["fake", "fake chef", "static", "chef", "routed chef"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    if request.param == "fake":
        yield _by_group(_fake(tmp_path))
    elif request.param == "static":
        yield _by_group(_static(tmp_path))
    elif request.param == "fake chef":
        yield _by_tag(_fake_chef())
    else:
        server: GoiardiServer = request.getfixturevalue("goiardi_server")
        _fill(server)
        cluster: dict[str, object] = {
            "name": "lab",
            "url": server.url,
            "client_name": CLIENT,
            "client_key": server.client_key,
        }
        cluster["allowed_networks"] = ["127.0.0.0/8"]
        settings = InventorySettings.model_validate({"chef": cluster})
        async with ChefInventory.opened(settings, warn=pytest.fail) as chef:
            assert chef is not None
            routed = InventoryRouter(static=_static(tmp_path), chef=chef)
            yield _by_tag(routed if request.param == "routed chef" else chef)


def _fake_chef() -> FakeInventory:
    targets = [Target("web2", "web2"), Target("web10", "web10")]
    web1 = Target("web1", "127.0.0.1", 2201, "root", {"zone": "a"}, "chef lab: ipaddress")
    found = {"contract-web": ["web1", "web2", "web10"], "contract-1": ["web1"], "contract-0": []}
    return FakeInventory([web1, *targets], chef=found)


async def test_hosts_are_found_each_once_and_in_the_same_order_each_time(subject: Subject) -> None:
    found = [[target.name for target in await subject.inventory.resolve(subject.several)] for _ in range(3)]
    assert sorted(found[0]) == ["web1", "web10", "web2"]
    assert found == [found[0]] * 3


async def test_a_host_is_the_same_target_however_it_was_chosen(subject: Subject) -> None:
    (alone,) = await subject.inventory.resolve(subject.one)
    several = {target.name: target for target in await subject.inventory.resolve(subject.several)}
    assert several["web1"] == alone
    assert (alone.address, alone.port, alone.user, alone.variables) == ("127.0.0.1", 2201, "root", {"zone": "a"})
    assert alone.source
    assert (several["web2"].address, several["web2"].port, several["web2"].user) == ("web2", 22, "")


async def test_what_selects_nothing_is_not_refused_at_once_but_fails_when_resolved(subject: Subject) -> None:
    assert subject.inventory.refuse(subject.nothing) == []
    with pytest.raises(FailedError) as caught:
        await subject.inventory.resolve(subject.nothing)
    assert caught.value.failure.code is FailureCode.TARGETS_NONE_FOUND
