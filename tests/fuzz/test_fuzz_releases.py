"""A small, always equal part of ``tox -e fuzz``: hosts with anything on them, and the scripts of ``release``."""

from tests.fuzz.area_releases import RELEASES
from tests.fuzz.examine import examine


def test_a_deployment_touches_what_is_its_own_whatever_lies_about() -> None:
    examine(RELEASES, examples=12)
