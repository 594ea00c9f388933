"""Inventories from files, and the router that sends each selector to the inventory that knows it."""

from vesemir.adapters.inventory.problem import InventoryFileError, InventoryProblem
from vesemir.adapters.inventory.router import InventoryRouter
from vesemir.adapters.inventory.static import StaticInventory

__all__ = ["InventoryFileError", "InventoryProblem", "InventoryRouter", "StaticInventory"]
