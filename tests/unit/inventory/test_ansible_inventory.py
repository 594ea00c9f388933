"""Inventories as Ansible's documentation ("How to build your inventory") shows them, read as they are."""

from pathlib import Path

import pytest

from vesemir.adapters.inventory import InventoryFileError, StaticInventory
from vesemir.domain.selector import GroupSelector, HostSelector

INI = """\
; a comment
mail.example.com   # outside of any group
jumper ansible_port=5555 ansible_host=192.0.2.50 # behind a port

[webservers]
foo.example.com http_port=80 maxRequestsPerChild=808
www[01:05:2].example.com:2222 note='two words' flag=True

[dbservers]
db-[a:b].example.com

[atlanta]
host1

[southeast:children]
atlanta
raleigh

[raleigh]
host1
host3

[southeast:vars]
some_server=foo.southeast.example.com
halon_system_timeout = 30
escape_pods=['a', 2]

[usa:children]
southeast

[all:vars]
ansible_user=deploy
"""

YAML = """\
ungrouped:
  hosts:
    mail.example.com:
    jumper:
      ansible_port: 5555
      ansible_host: 192.0.2.50
all:
  vars:
    ansible_user: deploy
webservers:
  hosts:
    foo.example.com:
      http_port: 80
      maxRequestsPerChild: 808
    www[01:05:2].example.com:
      ansible_port: 2222
      note: two words
      flag: true
dbservers:
  hosts:
    db-[a:b].example.com:
usa:
  children:
    southeast:
      children:
        atlanta:
          hosts:
            host1:
        raleigh:
          hosts: {host1: , host3: }
      vars:
        some_server: foo.southeast.example.com
        halon_system_timeout: 30
        escape_pods: [a, 2]
"""


def load(folder: Path, text: str, name: str) -> StaticInventory:
    (folder / name).write_text(text)
    return StaticInventory.load(folder / name, warn=pytest.fail)


@pytest.fixture(params=[("hosts", INI), ("inventory.ini", INI), ("inventory.yml", YAML)], ids=lambda param: param[0])
def inventory(request: pytest.FixtureRequest, tmp_path: Path) -> StaticInventory:
    name, text = request.param
    return load(tmp_path, text, name)


@pytest.mark.parametrize(
    ("group", "hosts"),
    [
        ("ungrouped", ["mail.example.com", "jumper"]),
        ("webservers", ["foo.example.com", "www01.example.com", "www03.example.com", "www05.example.com"]),
        ("dbservers", ["db-a.example.com", "db-b.example.com"]),
        ("usa", ["host1", "host3"]),
    ],
)
async def test_groups_ranges_and_children(inventory: StaticInventory, group: str, hosts: list[str]) -> None:
    assert [target.name for target in await inventory.resolve(GroupSelector((group,)))] == hosts


async def test_connection_variables_become_address_port_and_user(inventory: StaticInventory) -> None:
    jumper, www = await inventory.resolve(HostSelector(("jumper", "www03.example.com")))
    assert (jumper.address, jumper.port, jumper.user) == ("192.0.2.50", 5555, "deploy")
    assert (www.address, www.port, www.user) == ("www03.example.com", 2222, "deploy")


async def test_variables_of_hosts_and_groups_are_text(inventory: StaticInventory) -> None:
    www, host1 = await inventory.resolve(HostSelector(("www01.example.com", "host1")))
    assert (www.variables["note"], www.variables["flag"]) == ("two words", "true")
    assert host1.variables == {
        "ansible_user": "deploy",
        "some_server": "foo.southeast.example.com",
        "halon_system_timeout": "30",
        "escape_pods": '["a", 2]',
    }


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("hosts", "[web]\nweb1\nweb*\n", 3, "patterns such as web*"),
        ("hosts", "[web]\n!web1\n", 2, "is no host name"),
        ("hosts", "[web]\nweb1 web2\n", 2, "must be name=value"),
        ("hosts", "[web]\nweb1 a='b\n", 2, "No closing quotation"),
        ("hosts", "[web]\nweb1 ansible_port=x\n", 2, "ansible_port: 0 is no port"),
        ("hosts", "[web]\nweb1 ansible_host='{{ ip }}'\n", 2, "templates are not supported"),
        ("hosts", "[web]\nweb1:99999\n", 2, "99999 is no port"),
        ("hosts", "[web\nweb1\n", 1, "must be [group]"),
        ("hosts", "[web:children]\ndb\n", 1, "which is no group"),
        ("hosts", "[web:wars]\na=b\n", 1, "only :children and :vars"),
        ("hosts", "web1\n[web:vars]\na=b\n", 2, "a group that is not there"),
        ("hosts", "[web]\n[web:vars]\nnonsense\n", 3, "must be name=value"),
        ("hosts", "[web]\n[web:vars]\nansible_group_priority=9\n", 3, "not supported"),
        ("i.yml", "plugin: amazon.aws.aws_ec2\nregions: [x]\n", 1, "inventory plugins (amazon.aws.aws_ec2)"),
        ("i.yml", "web:\n  hosts:\n    - web1\n", 2, "web.hosts: must be a mapping"),
        ("i.yml", "web:\n  hots: {}\n", 2, "unknown key"),
        ("i.yml", "web:\n  hosts:\n    web1:\n      password: !vault |\n        x\n", 4, "!vault is not supported"),
        ("i.yml", "web:\n  hosts:\n    'web*':\n", 3, "patterns such as web*"),
        ("i.yml", "a:\n  children:\n    b:\n      children:\n        a:\n", 1, "contain each other: a > b > a"),
    ],
)
def test_what_is_not_supported_is_named_with_its_line(
    tmp_path: Path, name: str, text: str, line: int, reason: str
) -> None:
    with pytest.raises(InventoryFileError) as caught:
        load(tmp_path, text, name)
    problem = caught.value.problems[0]
    assert problem.line == line
    assert reason in problem.reason


def test_a_program_is_not_run(tmp_path: Path) -> None:
    program = tmp_path / "inventory"
    program.write_text("#!/bin/sh\necho '{}'\n")
    program.chmod(0o755)
    with pytest.raises(InventoryFileError, match="dynamic inventories are not supported"):
        StaticInventory.load(program, warn=pytest.fail)


def test_variable_folders_that_are_not_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "hosts").write_text("web1\n")
    warnings: list[str] = []
    StaticInventory.load(tmp_path / "hosts", warn=warnings.append)
    assert len(warnings) == 1
    assert "group_vars is not read" in warnings[0]
