"""What is fuzzed, by name."""

from tests.fuzz.area_chef import CHEF
from tests.fuzz.area_files import INVENTORY_FILES, POLICY_FILES, RECIPE_FILES
from tests.fuzz.area_frames import FRAMES
from tests.fuzz.area_haproxy import HAPROXY
from tests.fuzz.area_http import HTTP
from tests.fuzz.area_messages import CONTROL, DEPLOYS
from tests.fuzz.area_releases import RELEASES
from tests.fuzz.examine import Area

AREAS: dict[str, Area] = {
    area.name: area
    for area in (DEPLOYS, CONTROL, HTTP, FRAMES, HAPROXY, CHEF, RECIPE_FILES, POLICY_FILES, INVENTORY_FILES, RELEASES)
}
