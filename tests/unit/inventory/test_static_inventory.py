"""The static inventory file: what may stand in it, what is wrong with it and where, and its reloading."""

import os
from pathlib import Path

import pytest

from vesemir.adapters.inventory import InventoryFileError, InventoryRouter, StaticInventory
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.selector import ChefSelector, GroupSelector, HostSelector

COMMENTED = Path(__file__).parents[3] / "config" / "inventory.toml"

TOML = """\
[all]
port = 2200
user = "deploy"
variables = { level = "all", from_all = true, count = 3 }

[groups.parent]
children = ["child"]
port = 2300
variables = { level = "parent", from_parent = "yes" }

[groups.child]
hosts = ["web[1:3]", "db[01:03:2]", "box[a:b]"]
variables = { level = "child" }

[hosts.web2]
address = "10.0.0.2"
user = "root"
variables = { level = "host" }

[hosts.alone]
"""

YAML = """\
all:
  port: 2200
  user: deploy
  variables: {level: all, from_all: true, count: 3}
groups:
  parent:
    children: [child]
    port: 2300
    variables:
      level: parent
      from_parent: "yes"
  child:
    hosts:
      - web[1:3]
      - db[01:03:2]
      - box[a:b]
    variables: {level: child}
hosts:
  web2:
    address: 10.0.0.2
    user: root
    variables: {level: host}
  alone: {}
"""


def load(folder: Path, text: str, name: str = "inventory.toml") -> StaticInventory:
    file = folder / name
    file.write_text(text)
    return StaticInventory.load(file, warn=pytest.fail)


@pytest.mark.parametrize(("name", "text"), [("i.toml", TOML), ("i.yaml", YAML), ("i.yml", YAML)])
async def test_the_nearer_layer_wins_and_toml_and_yaml_mean_the_same(tmp_path: Path, name: str, text: str) -> None:
    inventory = load(tmp_path, text, name)
    targets = await inventory.resolve(GroupSelector(("parent",)))
    assert [target.name for target in targets] == ["web1", "web2", "web3", "db01", "db03", "boxa", "boxb"]
    web1, web2 = targets[:2]
    assert (web1.address, web1.port, web1.user) == ("web1", 2300, "deploy")
    assert web1.variables == {"level": "child", "from_all": "true", "count": "3", "from_parent": "yes"}
    assert web1.source == "inventory web1: its name"
    assert (web2.address, web2.port, web2.user, web2.variables["level"]) == ("10.0.0.2", 2300, "root", "host")
    assert await inventory.host("web2") == web2
    assert await inventory.host("web4") is None
    (alone,) = await inventory.resolve(HostSelector(("alone",)))
    assert (alone.port, alone.variables["level"]) == (2200, "all")
    assert inventory.hosts == ("web1", "web2", "web3", "db01", "db03", "boxa", "boxb", "alone")
    assert [target.name for target in await inventory.resolve(GroupSelector(("all",)))] == list(inventory.hosts)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[groups.web]\nhosts = [\n  'web1',\n  'we b',\n]\n", 4, "groups.web.hosts[1]: 'we b' is no host name"),
        ("[groups.web]\nhosts = ['web*']\n", 2, "patterns such as web*"),
        ("[groups.web]\nhosts = ['web[5:1]']\n", 2, "end of range [5:1] is before"),
        ("[groups.web]\nhosts = ['web[1:900000000]']\n", 2, "at most 100000"),
        ("[groups.a]\n\n[groups.b]\nchildren = ['c']\n", 3, "has the child c, which is no group"),
        ("[all]\n\n[groups.b]\nvariables = { vesemir_jump = 'b1,,b2' }\n", 3, "vesemir_jump: '' is no jump host"),
        ("[hosts.a]\nvariables = { vesemir_jump = 'b1:0' }\n", 1, "vesemir_jump: the jump host 'b1:0': 0 is no port"),
        ("[groups.a]\nchildren=['b']\n[groups.b]\nchildren=['a']\n", 1, "contain each other: a > b > a"),
        ("[groups.web]\nhost = ['web1']\n", 2, "groups.web.host: unknown key"),
        ("[hosts.web1]\nport = 70000\n", 2, "70000 is no port"),
        ("[hosts.web1]\nport = '22'\n", 2, "hosts.web1.port: input should be a valid integer"),
        ("[hosts.web1]\naddress = '10.0.0.1 -oProxyCommand=id'\n", 2, "neither a host name nor an IP address"),
        ("[hosts.web1]\nuser = '-l'\n", 2, "no user name"),
        ("[hosts.'web 1']\n", 1, "is no host name"),
        ("[hosts.web1.variables]\na = 'b'\nversion = 1.10\n", 3, "hosts.web1.variables.version: must be text"),
        ("[groups.all]\n", 1, "use [all]"),
        ("[hosts.web1\n", 1, "is no TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    with pytest.raises(InventoryFileError) as caught:
        load(tmp_path, text)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (tmp_path / "inventory.toml", line)
    assert reason in problem.reason


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("groups:\n  web:\n    hosts:\n      - web1\n      - we b\n", 5, "'we b' is no host name"),
        ("groups:\n  web: {}\n  web: {}\n", 3, "web stands twice"),
        ("groups:\n  web:\n   - [\n", 4, "expected the node content"),
        ("hosts:\n  web1:\n    variables: {secret: !vault x}\n", 3, "!vault is not supported"),
        ("hosts:\n  web1:\n    address: !!python/name:os.system x\n", 3, "could not determine a constructor"),
        ("groups: &a\n  web: *a\n", None, "contains itself"),
    ],
)
def test_yaml_is_read_with_lines_and_makes_no_objects(tmp_path: Path, text: str, line: int | None, reason: str) -> None:
    with pytest.raises(InventoryFileError) as caught:
        load(tmp_path, text, "inventory.yaml")
    problem = caught.value.problems[0]
    assert problem.line == line
    assert reason in problem.reason


def test_a_file_of_aliases_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(InventoryFileError, match="aliases"):
        load(tmp_path, "\n".join(rows), "inventory.yaml")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InventoryFileError) as caught:
        load(tmp_path, "[groups.web]\nhosts = ['a b', 'web[z:a]']\n[hosts.'c d']\n")
    assert [problem.line for problem in caught.value.problems] == [2, 2, 3]


def test_a_missing_file_is_told_with_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(InventoryFileError, match=r"No such file.*check inventory\.file"):
        StaticInventory.load(tmp_path / "none.toml", warn=pytest.fail)


def test_it_is_read_again_when_it_changes(tmp_path: Path) -> None:
    inventory = load(tmp_path, "[hosts.web1]\n")
    assert inventory.hosts == ("web1",)
    (tmp_path / "inventory.toml").write_text("[hosts.web1]\n[hosts.web2]\n")
    assert inventory.hosts == ("web1", "web2")


def test_it_is_read_again_when_another_file_of_the_same_size_and_time_takes_its_place(tmp_path: Path) -> None:
    inventory = load(tmp_path, "[hosts.web1]\n")
    before = (tmp_path / "inventory.toml").stat()
    new = tmp_path / "new"
    new.write_text("[hosts.web2]\n")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(tmp_path / "inventory.toml")
    assert inventory.hosts == ("web2",)


def test_a_broken_new_version_leaves_the_old_one_in_force_and_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "inventory.toml"
    file.write_text("[hosts.web1]\n")
    warnings: list[str] = []
    inventory = StaticInventory.load(file, warn=warnings.append)
    file.write_text("[hosts.web1]\nprot = 22\n")
    assert inventory.hosts == ("web1",)
    assert inventory.refuse(HostSelector(("web1",))) == []
    assert len(warnings) == 1
    assert "inventory.toml:2: hosts.web1.prot: unknown key" in warnings[0]
    file.unlink()
    assert inventory.hosts == ("web1",)
    assert inventory.hosts == ("web1",)
    assert len(warnings) == 2
    file.write_text("[hosts.web3]\n")
    assert inventory.hosts == ("web3",)
    assert len(warnings) == 2


def test_the_commented_example_is_sound() -> None:
    inventory = StaticInventory.load(COMMENTED, warn=pytest.fail)
    assert inventory.hosts[:6] == ("web1", "web2", "web3", "web4", "web5", "web06")
    assert inventory.groups == ("shop-web", "shop-lb", "shop")


async def test_chef_without_a_chef_server_is_accepted_and_then_fails_with_advice(tmp_path: Path) -> None:
    router = InventoryRouter(static=load(tmp_path, "[hosts.web1]\n"), chef=None)
    assert router.refuse(ChefSelector(tags=("web",))) == []
    with pytest.raises(FailedError) as caught:
        await router.resolve(ChefSelector(tags=("web",)))
    assert caught.value.failure.code is FailureCode.TARGETS_INVENTORY_UNREACHABLE
    assert "inventory.chef" in caught.value.failure.message


async def test_without_a_static_inventory_hosts_and_groups_are_refused_with_advice() -> None:
    router = InventoryRouter(static=None, chef=None)
    for selector in (HostSelector(("web1",)), GroupSelector(("web",))):
        (problem,) = router.refuse(selector)
        assert "inventory.file" in problem.message
        with pytest.raises(FailedError, match=r"inventory\.file"):
            await router.resolve(selector)


async def test_a_static_inventory_knows_no_chef_tags(tmp_path: Path) -> None:
    inventory = load(tmp_path, "[hosts.web1]\n")
    assert inventory.refuse(ChefSelector(tags=("web",))) == []
    with pytest.raises(FailedError) as caught:
        await inventory.resolve(ChefSelector(tags=("web",)))
    assert caught.value.failure.code is FailureCode.TARGETS_INVENTORY_UNREACHABLE


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "inventory.toml").write_bytes(b"[hosts.web1]\n# \xff\n")
    with pytest.raises(InventoryFileError, match=r"inventory\.toml:2: is not UTF-8"):
        StaticInventory.load(tmp_path / "inventory.toml", warn=pytest.fail)


async def test_an_unknown_form_of_selector_goes_to_no_inventory(tmp_path: Path) -> None:
    """Were one added to the domain and not here, the static inventory would be asked for what it does not know."""
    inventory = load(tmp_path, "[hosts.web1]\n")
    for router in (InventoryRouter(static=inventory, chef=None), InventoryRouter(static=None, chef=None), inventory):
        with pytest.raises(AssertionError, match="unreachable"):
            router.refuse(object())  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="unreachable"):
            await router.resolve(object())  # type: ignore[arg-type]
