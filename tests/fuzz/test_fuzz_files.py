"""A small, always equal part of ``tox -e fuzz``: answers of Chef servers, and files that people write."""

import pytest
from tests.fuzz.area_chef import CHEF
from tests.fuzz.area_files import INVENTORY_FILES, POLICY_FILES, RECIPE_FILES
from tests.fuzz.examine import Area, examine


def test_any_answer_of_a_chef_server_is_targets_or_one_failure() -> None:
    examine(CHEF, examples=200)


@pytest.mark.parametrize("area", [RECIPE_FILES, POLICY_FILES, INVENTORY_FILES], ids=lambda area: str(area.name))
def test_any_file_is_read_or_refused_by_one_clear_error(area: Area) -> None:
    examine(area, examples=200)
