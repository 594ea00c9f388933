"""``release`` removes what it made and nothing else: releases by number, those that were only prepared by age."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.unit.recipes.recipe_runs import tree
from tests.unit.recipes.test_release_recipe import Host, artifact, host

__all__ = ["artifact", "host"]

Artifacts = Callable[[str], Path]
DAY = 24 * 3600


def aged(path: Path, days: float) -> Path:
    moment = time.time() - days * DAY
    os.utime(path, (moment, moment), follow_symlinks=False)
    return path


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_vesemir_did_not_make_stays(host: Host, artifact: Artifacts, tmp_path: Path) -> None:
    """Case prune-foreign. Before: all of it was removed, and names with spaces were "cannot stat"."""
    releases, state = host.root / "releases", host.root / ".vesemir"
    for name in ("backup-2024", "two words", "two\nlines", ".hidden", ".git.tmp d", "0.1"):
        (releases / name).mkdir(parents=True)
        (releases / name / "file").write_text(name)
    outside = tmp_path / "outside"
    (outside / "0.9").mkdir(parents=True)
    (outside / "0.9" / ".vesemir-sha256").write_text("0" * 64)
    (releases / "project1").symlink_to(outside)
    (releases / "0.9").symlink_to(outside / "0.9")
    (releases / ".9.tmp-d0").symlink_to(outside)
    (releases / "notes").write_text("notes")
    (releases / "dangling").symlink_to("nowhere")
    (releases / "0.1" / ".vesemir-sha256").symlink_to("file")
    state.mkdir()
    (state / "artifact-link").symlink_to(outside / "0.9" / ".vesemir-sha256")
    (state / "artifact-folder").mkdir()
    for path in [*releases.iterdir(), *state.iterdir()]:
        aged(path, 400)
    before = tree(tmp_path)
    for number in range(1, 5):
        host.deploy(f"{number}.0", artifact(f"{number}.0"), deployment=f"d{number}")
    after = tree(tmp_path)
    assert {path: after.get(path) for path in before} == before
    assert (state / "artifact-folder").is_dir()
    assert entries(releases) == {
        *("backup-2024", "two words", "two\nlines", ".hidden", ".git.tmp d", "0.1", "project1", "0.9", ".9.tmp-d0"),
        *("notes", "dangling", "3.0", "4.0"),
    }


def test_what_older_versions_made_is_vesemir_s(host: Host, artifact: Artifacts) -> None:
    """They have ``.vesemir-sha256`` and no other mark."""
    for number in range(1, 4):
        old = host.root / "releases" / f"0.{number}"
        old.mkdir(parents=True)
        (old / ".vesemir-sha256").write_text("0" * 64)
        aged(old, 10 - number)
    host.deploy("1.0", artifact("1.0"), deployment="d1")
    assert host.releases == ["0.3", "1.0"]


def test_a_release_that_a_link_leads_to_stays(host: Host, artifact: Artifacts) -> None:
    """``current`` may lead to it by another link. Before: the names were compared, and what was served was removed."""
    host.deploy("1.0", artifact("1.0"), deployment="d1")
    (host.root / "releases" / "stable").symlink_to("1.0")
    (host.root / "current").unlink()
    (host.root / "current").symlink_to("releases/stable")
    aged(host.root / "releases" / "1.0", 9)
    for number in (2, 3, 4):
        host.deploy(f"{number}.0", artifact(f"{number}.0"), deployment=f"d{number}")
    assert host.releases == ["1.0", "3.0", "4.0", "stable"]


def test_what_was_only_prepared_goes_after_some_days(host: Host, artifact: Artifacts) -> None:
    """It counts for nothing until then: a release that served is not removed for one that never did."""
    for version in ("1.0", "2.0"):
        host.deploy(version, artifact(version), deployment=f"d{version}")
    for version in ("7.0", "8.0", "9.0"):
        host.deploy(version, artifact(version), deployment=f"p{version}", until="unpack")
    aged(host.root / "releases" / "8.0" / ".vesemir-prepared", 8)
    aged(host.root / "releases" / "9.0" / ".vesemir-prepared", 6)
    for name, days in (("artifact-old", 8), ("artifact-new", 6)):
        (host.root / ".vesemir" / name).write_text(name)
        aged(host.root / ".vesemir" / name, days)
    host.deploy("2.0", artifact("2.0"), deployment="d3")
    assert host.releases == ["1.0", "2.0", "7.0", "9.0"]
    assert entries(host.root / ".vesemir") == {"artifact-new", "previous-d1.0", "previous-d2.0", "previous-d3"}


def test_one_that_is_prepared_again_is_as_new(host: Host, artifact: Artifacts) -> None:
    host.deploy("1.0", artifact("1.0"), deployment="d1")
    host.deploy("2.0", artifact("2.0"), deployment="d2", until="unpack")
    mark = aged(host.root / "releases" / "2.0" / ".vesemir-prepared", 8)
    host.deploy("2.0", artifact("2.0"), deployment="d3", until="unpack")
    assert time.time() - mark.stat().st_mtime < DAY
    host.deploy("1.0", artifact("1.0"), deployment="d4")
    assert host.releases == ["1.0", "2.0"]


def test_one_that_was_switched_to_is_not_only_prepared(host: Host, artifact: Artifacts) -> None:
    """Also when an older version switched to it, which leaves the mark: then its successor remembers it."""
    host.deploy("1.0", artifact("1.0"), deployment="d1")
    host.deploy("2.0", artifact("2.0"), deployment="d2", until="switch")
    assert not (host.root / "releases" / "2.0" / ".vesemir-prepared").exists()
    mark = host.root / "releases" / "1.0" / ".vesemir-prepared"
    mark.write_text("d1\n")
    aged(mark, 8)
    host.deploy("3.0", artifact("3.0"), deployment="d3")
    host.step("remember", "2.0", artifact("2.0"), deployment="d4")
    aged(host.root / "releases" / "2.0", 1)
    (host.root / "releases" / "1.0").touch()
    host.deploy("3.0", artifact("3.0"), deployment="d5")
    assert host.releases == ["1.0", "3.0"]
