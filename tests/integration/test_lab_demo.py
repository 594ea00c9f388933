"""``lab demo``, as somebody runs it who wants to see what this is: both acts hold, and nothing is left."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]


def test_the_demo_holds_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    played = subprocess.run(
        [sys.executable, "-m", "vesemir.cli.lab", "demo", "--dir", str(folder)],
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert "HAProxy sends its traffic to web1, web2, web3, web4, web5 (release 2.0.0)." in played.stdout
    assert "is kept out of traffic. HAProxy sends it to web" in played.stdout
    assert "3.0.0-broken)" not in played.stdout, "nobody was ever served by the broken release"
    assert not (folder / "lab.json").exists()
    assert not (folder / "processes.json").exists()
