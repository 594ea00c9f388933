"""Chef servers as inventories: signed partial searches, all pages read, each node checked before it is a target."""

from vesemir.adapters.chef.checking import check_chef
from vesemir.adapters.chef.credentials import ChefSettingsError
from vesemir.adapters.chef.inventory import ChefInventory, clusters_of
from vesemir.adapters.chef.server import ChefServer

__all__ = ["ChefInventory", "ChefServer", "ChefSettingsError", "check_chef", "clusters_of"]
