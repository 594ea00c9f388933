"""A request can only name files below ``artifacts.roots``, and is not told whether others exist."""

from pathlib import Path

import pytest

from vesemir.adapters.recipes import local_artifact
from vesemir.domain.failure import FailedError, FailureCode


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "artifacts"
    (root / "sub dir").mkdir(parents=True)
    (root / "sub dir" / "shop.tar.gz").write_text("artifact")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "artifacts-other").mkdir()
    (tmp_path / "artifacts-other" / "x").write_text("x")
    (root / "out").symlink_to("../secret")
    (root / "folder-out").symlink_to("..")
    (root / "inside").symlink_to("sub dir/shop.tar.gz")
    (root / "loop").symlink_to("loop")
    return root


@pytest.mark.parametrize("name", ["sub%20dir/shop.tar.gz", "sub dir/shop.tar.gz", "inside", "./sub dir//shop.tar.gz"])
def test_a_file_below_a_root_is_found(root: Path, name: str) -> None:
    found = local_artifact(f"file://{root}/{name}", [root.parent / "none", root])
    assert found.read_text() == "artifact"


def test_a_root_that_is_a_link_is_a_root(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    assert local_artifact(f"file://{root.parent}/link/inside", [root.parent / "link"]).read_text() == "artifact"


def test_a_plain_absolute_path_is_taken_as_it_is(root: Path) -> None:
    assert local_artifact(f"{root}/sub dir/shop.tar.gz", [root]).read_text() == "artifact"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file://{root}/../secret", "without .."),
        ("file://{root}/sub dir/../inside", "without .."),
        ("file://{root}/%2e%2e/secret", "without .."),
        ("file://{root}/out", "not below"),
        ("file://{root}/folder-out/secret", "not below"),
        ("file://{root}/folder-out/no-such-file", "not below"),
        ("file://{root}-other/x", "not below"),
        ("file:///etc/passwd", "not below"),
        ("/etc/passwd", "not below"),
        ("file://localhost{root}/inside", "host"),
        ("file:{root}/inside?x", "query"),
        ("file://{root}/inside#x", "fragment"),
        ("file://{root}/inside%00", "must be file:///"),
        ("file://{root}/%ff", "must be file:///"),
        ("file:inside", "must be file:///"),
        ("http://{root}/inside", "must be file:///"),
        ("file://[", "must be file:///"),
        ("file://{root}/none", "no such file"),
        ("file://{root}/sub dir", "no such file"),
        ("file://{root}/loop", "no such file"),
        ("file://{root}/" + "n" * 300, "cannot be looked at|no such file"),
    ],
)
def test_everything_else_is_unavailable(root: Path, url: str, reason: str) -> None:
    with pytest.raises(FailedError, match=reason) as caught:
        local_artifact(url.replace("{root}", str(root)), [root])
    assert caught.value.failure.code is FailureCode.ARTIFACT_UNAVAILABLE


def test_without_roots_nothing_is_read(root: Path) -> None:
    with pytest.raises(FailedError, match="none is set"):
        local_artifact(f"file://{root}/inside", [])
