"""What is kept of a host's variables."""

import re
from pathlib import Path

from vesemir.domain.target import OWN_VARIABLES, Target

SOURCE = Path(__file__).parents[3] / "src" / "vesemir"


def test_what_is_read_of_a_host_is_kept_in_its_record() -> None:
    """A target comes back from the record with these variables only: one that is not named here is never seen."""
    read = {
        name
        for file in (SOURCE / "adapters").rglob("*.py")
        for name in re.findall(r'\.variables\.get\("([a-z_]+)"\)', file.read_text(encoding="utf-8"))
    }
    assert read == OWN_VARIABLES


def test_other_variables_are_left_out() -> None:
    target = Target("web1", "127.0.0.1", variables={"vesemir_supervisor": "/a", "rack": "4"})
    assert target.knowing(OWN_VARIABLES).variables == {"vesemir_supervisor": "/a"}
