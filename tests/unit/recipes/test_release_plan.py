"""What a dry run of ``release`` and ``vesemir`` looks at: their scripts, run for real, change nothing."""

from pathlib import Path

import pytest
from tests.unit.recipes.recipe_runs import PATH, run, tree

from vesemir.adapters.recipes import load_recipes
from vesemir.domain.action import RunAction
from vesemir.domain.render import render_plan
from vesemir.domain.render_values import RenderScope
from vesemir.domain.target import Target
from vesemir.shipped import recipes_folder

SYSTEMCTL = """#!/bin/sh
case "$1 $2" in
    "cat shop") echo "# /etc/systemd/system/shop.service" ;;
    "cat "*"@") echo "Failed to connect to bus" >&2; exit 1 ;;
    *) echo "No files found for $2.service." >&2; exit 1 ;;
esac
"""
SUDO = """#!/bin/sh
[ "$1 $2 $3" = "-n -l --" ] || exit 9
[ "$5 $6" = "restart shop" ] || { echo "sudo: a password is required" >&2; exit 1; }
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("sudo", SUDO)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def looked(programs: Path, step: str, recipe_name: str = "release", **variables: str) -> tuple[int, str]:
    """(exit status, standard error)."""
    recipe = load_recipes([recipes_folder()]).get(recipe_name)
    assert recipe is not None
    target = Target("web1", "127.0.0.1", variables=variables)
    given = {"artifact_url": "file:///a", "artifact_sha256": "0" * 64}
    scope = RenderScope("shop", "production", "1.0", "d1", target, parameters=given)
    (action,) = [each.action for each in render_plan(recipe, scope) if each.name == step]
    assert isinstance(action, RunAction)
    before = tree(programs.parent)
    done = run(action.command, path=f"{programs}:{PATH}")
    assert tree(programs.parent) == before
    return done.returncode, done.stderr


def test_a_service_that_is_there(programs: Path) -> None:
    assert looked(programs, "service") == (0, "")
    assert looked(programs, "service", systemctl_sudo="true") == (0, "")


@pytest.mark.parametrize(("service", "status"), [("shop", 0), ("shopp", 1), ("shop@", 75)])
def test_the_service_of_the_recipe_vesemir(programs: Path, service: str, status: int) -> None:
    systemctl = str(programs / "systemctl")
    assert looked(programs, "service", "vesemir", service=service, systemctl=systemctl)[0] == status


def test_a_service_that_is_not_there(programs: Path) -> None:
    status, words = looked(programs, "service", service="shopp")
    assert status == 1
    assert words == ("there is no service shopp on this host: install its unit, or correct the variable service\n")


def test_a_systemctl_that_cannot_answer_is_no_obstacle(programs: Path) -> None:
    status, words = looked(programs, "service", service="shop@")
    assert (status, words) == (75, "systemctl cat shop@: Failed to connect to bus\n")


def test_a_systemctl_that_is_not_there(programs: Path) -> None:
    status, words = looked(programs, "service", systemctl="/no/such/systemctl")
    assert status == 1
    assert "correct the variable systemctl" in words


def test_a_sudo_rule_that_is_missing(programs: Path) -> None:
    (programs / "sudo").write_text(SUDO.replace("restart shop", "restart other"))
    status, words = looked(programs, "service", systemctl_sudo="true")
    assert status == 1
    assert "a password is required" in words
    assert f"NOPASSWD: {programs}/systemctl restart shop" in words


def test_the_folders(programs: Path, tmp_path: Path) -> None:
    """Without ``.vesemir`` the step fetch was looked at for the same folder."""
    root = tmp_path / "srv"
    assert looked(programs, "folders", app_root=str(root)) == (0, "")
    (root / ".vesemir").mkdir(parents=True)
    (root / "releases").mkdir()
    assert looked(programs, "folders", app_root=str(root)) == (0, "")
