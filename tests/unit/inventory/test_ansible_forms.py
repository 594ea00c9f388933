"""Forms of Ansible inventories that people have: what programs print, no suffix, empty variables."""

from pathlib import Path

import pytest

from vesemir.adapters.inventory import InventoryFileError, StaticInventory
from vesemir.domain.selector import GroupSelector, HostSelector

DYNAMIC = """\
{"_meta": {"hostvars": {"web1": {"ansible_host": "10.0.0.1", "role": "a"}, "gone": {"x": 1}}, "profile": "legacy"},
 "all": {"children": ["site", "ungrouped"]},
 "site": {"children": ["web", "db"], "vars": {"ansible_user": "deploy"}},
 "web": {"hosts": ["web1", "web2"], "vars": {"role": "b"}},
 "db": ["db1"]}
"""
LISTED = """\
all:
  children:
    site:
      children:
        db: {}
        web: {}
    db:
      hosts:
        db1:
          ansible_user: deploy
    web:
      hosts:
        web1:
          ansible_host: 10.0.0.1
          ansible_user: deploy
          role: a
        web2:
          ansible_user: deploy
          role: b
"""
"""What ``ansible-inventory --list --yaml`` makes of a program that prints ``DYNAMIC``."""
TAKEN_BACK = (
    "  vars: {ansible_user: all, ansible_port: 2222}\n  hosts:\n    web1: {ansible_user: , ansible_port: null}\n"
)


def load(folder: Path, text: str, name: str = "inventory") -> StaticInventory:
    (folder / name).write_text(text)
    return StaticInventory.load(folder / name, warn=pytest.fail)


@pytest.mark.parametrize("name", ["inventory", "inventory.json", "inventory.yml"])
@pytest.mark.parametrize("text", [DYNAMIC, LISTED, f"# saved\n---\n{LISTED}"], ids=["program", "yaml", "document"])
async def test_what_a_program_or_ansible_inventory_prints(tmp_path: Path, name: str, text: str) -> None:
    """It is what the refusal of a program advises to save; JSON and YAML need no suffix."""
    inventory = load(tmp_path, text, name)
    hosts = {target.name: target for target in await inventory.resolve(GroupSelector(("site",)))}

    assert {name: (target.address, target.user) for name, target in hosts.items()} == {
        "web1": ("10.0.0.1", "deploy"),
        "web2": ("web2", "deploy"),
        "db1": ("db1", "deploy"),
    }
    assert [hosts[name].variables.get("role") for name in ("web1", "web2", "db1")] == ["a", "b", None]


def test_a_program_that_says_no_meta(tmp_path: Path) -> None:
    text = '{"web": {"hosts": ["web1"], "vars": {"a": 1}}, "db": {"hosts": {"db1": {}}}, "none": null}'
    assert load(tmp_path, text).hosts == ("web1", "db1")


def test_json_of_the_own_format_and_of_the_yaml_form(tmp_path: Path) -> None:
    assert load(tmp_path, '{"groups": {"web": {"hosts": ["web1"]}}}').hosts == ("web1",)
    assert load(tmp_path, '{"web": {"hosts": {"web[1:2]": {}}}}').hosts == ("web1", "web2")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"_meta": [], "a": []}', "_meta: must be a mapping"),
        ('{"_meta": {}, "a": {"hosts": [1]}}', "a.hosts: must be a list of names"),
        ('{"_meta": {}, "a": {"hosts": ["web*"]}}', "'web*' is no host name"),
        ('{"_meta": {}, "a": {"host": []}}', "a.host: unknown key"),
        ('{"_meta": {"hostvars": {"x": {"ansible_port": 0}}}, "a": ["x"]}', "_meta.hostvars.x.ansible_port"),
        ('{"_meta": {}, "a": {"children": ["a"]}}', "groups contain each other"),
        ('{"_meta": {}, "a": {"vars": {"ansible_user": "{{ x }}"}}}', "is a template"),
    ],
)
def test_what_a_program_prints_and_cannot_be_read(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InventoryFileError) as caught:
        load(tmp_path, text)
    assert f"{tmp_path}/inventory:1: " in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[all:vars]\nansible_user=all\nansible_port=2222\n[web]\nweb1 ansible_user= ansible_port= ansible_host=\n",
        f"all:\n{TAKEN_BACK}",
    ],
    ids=["ini", "yaml"],
)
async def test_an_empty_connection_variable_takes_back_what_was_said(tmp_path: Path, text: str) -> None:
    """The host's own layer wins, also with nothing; then the defaults hold."""
    (target,) = await load(tmp_path, text).resolve(HostSelector(("web1",)))
    assert (target.address, target.port, target.user) == ("web1", 22, "")
    assert target.variables["ansible_user"] == ""


def test_a_name_may_begin_with_a_range(tmp_path: Path) -> None:
    hosts = load(tmp_path, "[web]\n[1:3].foo.example port=80\n[a:b][1:2]\n[db] # a header\ndb1\n").hosts
    assert hosts == ("1.foo.example", "2.foo.example", "3.foo.example", "a1", "a2", "b1", "b2", "db1")


@pytest.mark.parametrize("text", ["[web:vras]\na=1\n", "[web:\n", "[web] web1\n"])
def test_a_header_that_is_none_is_still_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(InventoryFileError, match=r":1: \[web"):
        load(tmp_path, text)
