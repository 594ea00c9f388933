"""What every inventory promises the engine; the fake and the real one pass the same suite."""

from pathlib import Path

import pytest
from tests.fakes.inventory import FakeInventory

from vesemir.adapters.inventory import InventoryRouter, StaticInventory
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.selector import GroupSelector, HostSelector
from vesemir.domain.target import Target
from vesemir.engine.inventory import Inventory

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
