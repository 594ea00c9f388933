"""Inventories of Ansible's own documentation give the hosts, groups and variables that Ansible itself finds in them.

``ansible-inventory-2.19.json`` was recorded with ansible-core 2.19.14: every INI and YAML inventory in
``docs/docsite/rst/inventory_guide/intro_inventory.rst`` of ansible/ansible-documentation (commit ef72400c; ``line`` is
its place there), taken as it stands. Only snippets that begin with ``# ...`` got the ``ungrouped:`` that they omit,
and the one of line 419 the three groups that it names without having them. ``list`` is what ``ansible-inventory -i FILE
--list`` said, with ``ANSIBLE_INVENTORY_ENABLED`` set to the file's form. It is recorded so that running the tests does
not need Ansible.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from vesemir.adapters.inventory import InventoryFileError, StaticInventory
from vesemir.adapters.inventory.ansible import as_text
from vesemir.domain.selector import GroupSelector, HostSelector
from vesemir.domain.target import Target

RECORDED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("ansible-inventory-2.19.json").read_text())
UNSUPPORTED = [case for case in RECORDED if "ansible_group_priority" in case["text"]]
SUPPORTED = [case for case in RECORDED if case not in UNSUPPORTED]


def load(case: dict[str, Any], folder: Path) -> StaticInventory:
    file = folder / case["file"]
    file.write_text(case["text"])
    return StaticInventory.load(file, warn=pytest.fail)


def members(listed: dict[str, Any], group: str) -> set[str]:
    """The hosts of a group and of its children, as ``--list`` tells them."""
    own = listed.get(group, {})
    return set(own.get("hosts", ())).union(*(members(listed, child) for child in own.get("children", ())))


def test_there_is_something_to_compare() -> None:
    assert len(SUPPORTED) >= 20
    assert {case["file"] for case in SUPPORTED} == {"inventory", "inventory.yml"}


@pytest.mark.parametrize("case", SUPPORTED, ids=lambda case: f"line-{case['line']}")
async def test_hosts_groups_and_variables_are_those_that_ansible_finds(case: dict[str, Any], tmp_path: Path) -> None:
    inventory, listed = load(case, tmp_path), case["list"]
    assert set(inventory.hosts) == members(listed, "all")
    for group in listed.keys() - {"_meta"}:
        expected = members(listed, group)
        if expected:
            assert {target.name for target in await inventory.resolve(GroupSelector((group,)))} == expected, group
    for target in await inventory.resolve(HostSelector(inventory.hosts)):
        assert_is_ansibles(target, listed["_meta"]["hostvars"].get(target.name, {}))


def assert_is_ansibles(target: Target, variables: dict[str, Any]) -> None:
    assert target.address == variables.get("ansible_host", target.name)
    assert target.port == variables.get("ansible_port", 22)
    assert target.user == variables.get("ansible_user", "")
    expected = {name: as_text(value) for name, value in variables.items()}
    # host:port is the one way to say the port that is no variable with us.
    assert {"ansible_port": expected.get("ansible_port"), **target.variables} == {"ansible_port": None, **expected}


@pytest.mark.parametrize("case", UNSUPPORTED, ids=lambda case: f"line-{case['line']}")
def test_what_is_not_supported_is_named(case: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InventoryFileError, match=r":4: .*ansible_group_priority is not supported"):
        load(case, tmp_path)
