"""The shipped ``package`` and ``chef-client`` recipes, carried out with stand-ins for apt, systemd and Chef.

The stand-ins record how they were called; that apt 2.6 accepts these options was seen in a simulated run (apt-get -s).
"""

import json
from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import PATH, carry_out

from vesemir.adapters.recipes import load_recipes
from vesemir.domain.action import CheckAction, HttpProbe, RenderedStep
from vesemir.domain.recipe import check_parameters
from vesemir.domain.render import render_steps
from vesemir.domain.render_values import RenderScope
from vesemir.domain.step import Command, Direction
from vesemir.domain.target import Target
from vesemir.shipped import recipes_folder

RECORD = 'printf "%s" "${0##*/}" >> "$LOG"\nprintf " %s" "$@" >> "$LOG"\necho >> "$LOG"\n'
INSTALLED = '[ -s "${LOG%/*}/installed" ] || exit 1\nprintf "installed %s" "$(cat "${LOG%/*}/installed")"\n'
INSTALL = (
    RECORD
    + """\
case "$1 $*" in
    *--download-only*) ;;
    install*) for last; do :; done; echo "${last#*=}" > "${LOG%/*}/installed" ;;
esac
"""
)
CONVERGE = RECORD + 'for last; do :; done\ncat "$last" >> "$LOG"\n'


class Host:
    """Stand-ins in a folder that comes first in the step's PATH."""

    def __init__(self, folder: Path, recipe: str) -> None:
        self._recipe = recipe
        self._folder = folder
        self.state = folder / "it's state"
        programs = {"apt-get": INSTALL, "dpkg-query": INSTALLED, "chef-client": CONVERGE}
        for name in ("apt-get", "apt-cache", "apt-mark", "dpkg", "dpkg-query", "systemctl", "chef-client"):
            program = folder / name
            program.write_text(f"#!/bin/sh\nLOG={folder}/log\n" + programs.get(name, RECORD))
            program.chmod(0o755)

    def steps(
        self, parameters: dict[str, object], *, deployment: str = "d1", version: str = "1.4.2", back: bool = False
    ) -> list[RenderedStep]:
        recipe = load_recipes([recipes_folder()]).get(self._recipe)
        assert recipe is not None
        values, problems = check_parameters(recipe, parameters)
        assert problems == []
        target = Target("web1", "127.0.0.1", variables={"state": str(self.state), "sudo": "false"})
        scope = RenderScope("shop", "production", version, deployment, target, parameters=values, step_seconds=30)
        return render_steps(recipe, Direction.BACK if back else Direction.FORWARD, scope)

    def carry_out(
        self, parameters: dict[str, object], *, deployment: str = "d1", version: str = "1.4.2", back: bool = False
    ) -> list[int]:
        """All steps that are not HTTP checks, each twice, as after a takeover; the exit statuses of the second time."""
        statuses: list[int] = []
        for step in self.steps(parameters, deployment=deployment, version=version, back=back):
            if not isinstance(step.action, CheckAction) or isinstance(step.action.probe, Command):
                carry_out(step, self._folder, path=f"{self._folder}:{PATH}")
                statuses.append(carry_out(step, self._folder, path=f"{self._folder}:{PATH}").returncode)
        return statuses

    def calls(self) -> list[str]:
        """What was called since the last time, each once in a row."""
        log = self._folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return list(dict.fromkeys(lines))

    def installed(self) -> str:
        file = self._folder / "installed"
        return file.read_text().strip() if file.exists() else ""


@pytest.fixture
def packages(tmp_path: Path) -> Host:
    (tmp_path / "installed").write_text("1.3.0-1")
    return Host(tmp_path, "package")


@pytest.fixture
def chef(tmp_path: Path) -> Host:
    return Host(tmp_path, "chef-client")


def test_a_package_is_installed_in_exactly_the_version_and_its_service_restarted(packages: Host) -> None:
    assert packages.carry_out({"package": "shop-server", "hold": True}) == [0, 0, 0, 0, 0]
    calls = packages.calls()
    assert calls[:2] == ["dpkg --audit", "apt-get update -q -o DPkg::Lock::Timeout=120"]
    assert calls[2].startswith("apt-get install -q -y --download-only --allow-downgrades ")
    assert calls[2].endswith(" -- shop-server=1.4.2")
    assert calls[3:5] == ["dpkg --configure -a", "apt-cache show -- shop-server=1.4.2"]
    assert calls[5].startswith("apt-get install -q -y --allow-downgrades ")
    assert calls[5].endswith(" -- shop-server=1.4.2")
    assert calls[6:] == ["apt-mark hold -- shop-server", "systemctl restart shop", "systemctl is-active shop"]


def test_what_is_downloaded_before_the_drain_installs_nothing(packages: Host) -> None:
    (download, *_) = packages.steps({"package": "shop-server"})
    assert (download.name, download.phase) == ("download", "prepare")
    assert carry_out(download, packages.state.parent, path=f"{packages.state.parent}:{PATH}").returncode == 0
    assert packages.installed() == "1.3.0-1"


def test_a_dpkg_that_was_interrupted_is_left_to_the_step_that_may_finish_it(packages: Host) -> None:
    dpkg = packages.state.parent / "dpkg"
    dpkg.write_text(dpkg.read_text() + 'echo "shop-server is half-configured"\n')
    (download, *_) = packages.steps({"package": "shop-server"})
    assert carry_out(download, packages.state.parent, path=f"{packages.state.parent}:{PATH}").returncode == 0
    assert packages.calls() == ["dpkg --audit"]


def test_lists_that_do_not_know_the_version_are_updated_once_more(packages: Host) -> None:
    (packages.state.parent / "apt-cache").write_text("#!/bin/sh\nexit 100\n")
    (install,) = [step for step in packages.steps({"package": "shop-server"}) if step.name == "install"]
    carry_out(install, packages.state.parent, path=f"{packages.state.parent}:{PATH}")
    assert "apt-get update -q -o DPkg::Lock::Timeout=120" in packages.calls()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """At the names that the recipes write to first. Before: the link's target was overwritten."""
    others = tmp_path / "others"
    for recipe, names in (
        ("package", ["package-d1.new"]),
        ("chef-client", ["chef-previous-d1.new", "chef-shop-production.json.new"]),
    ):
        (tmp_path / recipe).mkdir()
        host = Host(tmp_path / recipe, recipe)
        host.state.mkdir()
        others.write_text("others")
        for name in names:
            (host.state / name).symlink_to(others)
        steps = host.steps({"package": "shop-server"} if recipe == "package" else {})
        for step in [step for step in steps if step.phase != "prepare"][:1]:
            assert carry_out(step, tmp_path, path=f"{tmp_path / recipe}:{PATH}").returncode == 0
        assert others.read_text() == "others"
        assert not (host.state / names[0]).exists()


def test_a_package_goes_back_to_the_version_that_was_there(packages: Host) -> None:
    parameters: dict[str, object] = {"package": "shop-server", "package_version": "1:1.4.2~rc1-1+deb12"}
    packages.carry_out(parameters)
    assert packages.installed() == "1:1.4.2~rc1-1+deb12"
    packages.calls()
    assert packages.carry_out(parameters, back=True) == [0, 0]
    assert packages.installed() == "1.3.0-1"
    assert packages.calls()[-1] == "systemctl restart shop"


def test_a_package_that_was_never_installed_by_this_deployment_is_left_alone(packages: Host) -> None:
    assert packages.carry_out({"package": "shop-server"}, back=True) == [0, 0]
    assert packages.calls() == []


def test_a_package_that_was_not_there_before_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    host = Host(tmp_path, "package")
    host.carry_out({"package": "shop-server"})
    assert host.carry_out({"package": "shop-server"}, back=True)[0] == 1
    assert host.installed() == "1.4.2"


@pytest.mark.parametrize("name", ["shop=1", "-o", "shop server", "Shop", "shop;id", "$(id)", "shop/sid", ""])
def test_only_package_names_are_package_names(name: str) -> None:
    recipe = load_recipes([recipes_folder()]).get("package")
    assert recipe is not None
    assert [problem.field for problem in check_parameters(recipe, {"package": name})[1]] == ["parameters.package"]


def test_chef_gets_the_version_as_an_attribute_and_converges(chef: Host) -> None:
    assert chef.carry_out({}) == [0, 0]
    file = chef.state / "chef-shop-production.json"
    assert json.loads(file.read_text()) == {"shop": {"version": "1.4.2"}}
    assert file.stat().st_mode & 0o777 == 0o600
    assert chef.calls()[0] == f"chef-client --no-color --run-lock-timeout 120 -j {file}"
    check = chef.steps({})[-1].action
    assert isinstance(check, CheckAction)
    assert check.probe == HttpProbe("http://127.0.0.1:8080/", 200, None, {"version": "1.4.2"})


def test_an_attribute_of_any_depth_with_any_text_is_json(chef: Host) -> None:
    text = '"}, "run_list": ["recipe[evil]"]\\ $(id) é'
    chef.carry_out({"attribute": "a-b.c_d.e", "attribute_value": text})
    document = json.loads((chef.state / "chef-shop-production.json").read_text())
    assert document == {"a-b": {"c_d": {"e": text}}}


def test_chef_goes_back_to_the_attributes_that_were_there(chef: Host) -> None:
    chef.carry_out({}, deployment="d1", version="1.0")
    chef.carry_out({}, deployment="d2", version="2.0")
    chef.calls()
    assert chef.carry_out({}, deployment="d2", version="2.0", back=True) == [0]
    assert json.loads((chef.state / "chef-shop-production.json").read_text()) == {"shop": {"version": "1.0"}}
    assert chef.calls()[0].startswith("chef-client ")
    assert chef.carry_out({}, deployment="d1", version="1.0", back=True) == [1]
    assert chef.carry_out({}, deployment="d3", version="3.0", back=True) == [0]
    assert chef.calls() == []
