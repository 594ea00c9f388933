"""What a lab of machines refuses, and how it finds its way: the parts that need neither root nor a container."""

import os
from pathlib import Path

import pytest

from vesemir.lab import base_tree, cgroups, machines, mounts, proc
from vesemir.lab.cgroups import in_groups
from vesemir.lab.documents import host_variables
from vesemir.lab.entering import entering
from vesemir.lab.places import LabError, Places
from vesemir.lab.roster import Roster, RosterEntry
from vesemir.lab.topology import LabTopology, Wanted, plan


@pytest.fixture
def topology(tmp_path: Path) -> LabTopology:
    places = Places.of(tmp_path / "lab", token="0" * 32)
    places.claim()
    places.make()
    return plan(places, Wanted(2, machines=True, bare=1))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"boxes": 0}, "--boxes must be between 1 and 1750"),
        ({"boxes": 51, "machines": True}, "--boxes must be between 1 and 50"),
        ({"boxes": 1, "bare": 1}, "--bare needs --systemd"),
        ({"boxes": 1, "machines": True, "bastion": True}, "--bastion is for boxes without a systemd"),
        ({"boxes": 1, "machines": True, "bare": -1}, "--bare must be between 0 and 50"),
    ],
)
def test_a_lab_that_cannot_be_is_refused_before_anything_starts(wanted: dict[str, int], reason: str) -> None:
    with pytest.raises(LabError, match=reason):
        Wanted(**wanted)  # type: ignore[arg-type]


def test_who_is_not_root_is_told_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"only root can boot machines.*leave --systemd out"):
        machines.refuse_elsewhere()


def test_without_control_groups_it_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cgroups, "_hierarchies", list)
    with pytest.raises(LabError, match="no control groups are mounted"):
        machines.refuse_elsewhere()


def test_a_machine_is_a_host_of_its_own_with_its_own_accounts_and_paths(topology: LabTopology) -> None:
    web, bare, balancer = topology.boxes[0], topology.bare[0], topology.balancers[0]
    assert topology.user == "deploy"
    assert len({box.address for box in topology.hosts}) == 4
    assert host_variables(topology, web) == {
        "app_root": "/srv/shop",
        "health_url": web.health_url,
        "systemctl_sudo": "true",
        "root": "/",
        "zone": "a",
    }
    assert host_variables(topology, bare) == {"root": "/", "zone": "a"}
    assert host_variables(topology, balancer.box)["haproxy_socket"] == f"/srv/haproxy/{balancer.socket.name}"
    assert web.app_root == topology.places.within("boxes") / "web1" / "root" / "srv" / "shop"


def test_a_program_enters_its_control_groups_before_it_runs(tmp_path: Path) -> None:
    groups = [tmp_path / "one", tmp_path / "two"]
    for group in groups:
        group.mkdir()
    words = in_groups(groups, ["echo", "a b", "$HOME"])
    assert words[-3:] == ["echo", "a b", "$HOME"]
    pid = os.posix_spawn("/bin/sh", words, {"PATH": "/usr/bin:/bin"}, file_actions=[(os.POSIX_SPAWN_CLOSE, 1)])
    os.waitpid(pid, 0)
    assert [(group / "cgroup.procs").read_text() for group in groups] == [f"{pid}\n"] * 2


def test_one_enters_only_machines_that_run(tmp_path: Path) -> None:
    file = tmp_path / "processes.json"
    with pytest.raises(LabError, match=r"no machine 'web1'.*not started with --systemd, or is not up"):
        entering(file, "web1", ["true"])
    roster = Roster.new(file, token="0" * 32)
    parent = proc.look(os.getppid())
    assert parent is not None
    roster.entries = [RosterEntry(name, parent.pid, parent.started) for name in ("web1/systemd", "web1/sshd")]
    roster.save()
    words, environment = entering(file, "web1", ["systemctl", "status"])
    assert words[:2] == ["nsenter", "--target"]
    assert words[-3:] == ["--", "systemctl", "status"]
    assert environment["HOME"] == "/root"
    with pytest.raises(LabError, match="no machine 'web2'; it has web1"):
        entering(file, "web2", ["true"])


def test_the_cache_is_where_the_user_keeps_such_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert base_tree.cache_folder() == Path("/var/cache/vesemir-lab")
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/me/.cache")
    assert base_tree.cache_folder() == Path("/home/me/.cache/vesemir-lab")


def test_packages_come_from_where_this_machines_own_do(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = "sid|main|amd64|http://mirror.example/unstable/\ntrixie|main|amd64|http://mirror.example/debian/\n"
    said = {"dpkg": "amd64\n", "apt-get": targets}
    monkeypatch.setattr(base_tree, "_asked", lambda *words: said[words[0]])
    monkeypatch.setattr(base_tree, "_release", lambda: "trixie")
    assert base_tree.source() == base_tree.Source("http://mirror.example/debian/", "trixie", "amd64")
    said["apt-get"] = ""
    with pytest.raises(LabError, match="run apt-get update"):
        base_tree.source()


def test_nothing_is_unmounted_where_nothing_is_mounted(tmp_path: Path) -> None:
    mounts.unmount_below(tmp_path)
    mounts.unmount_below(tmp_path / "is-not-there")
