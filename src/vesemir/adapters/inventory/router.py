"""Which inventory a selector is for: groups and hosts are the static one's, Chef searches the Chef server's."""

from typing import assert_never

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.problem import Problem
from vesemir.domain.selector import ChefSelector, GroupSelector, HostSelector, Selector
from vesemir.domain.target import Target
from vesemir.engine.ports.inventory import Inventory

_NO_STATIC = "this Vesemir has no static inventory: set inventory.file in its settings"
_NO_CHEF = "this Vesemir has no Chef server: set inventory.chef in its settings, or name targets by inventory or hosts"


class InventoryRouter:
    """All configured inventories as one; either may be missing."""

    def __init__(self, *, static: Inventory | None, chef: Inventory | None) -> None:
        self._static = static
        self._chef = chef

    def refuse(self, selector: Selector) -> list[Problem]:
        inventory = self._for(selector)
        if inventory is not None:
            return inventory.refuse(selector)
        match selector:
            case GroupSelector():
                return [Problem("inventory.groups", _NO_STATIC)]
            case HostSelector():
                return [Problem("hosts", _NO_STATIC)]
            case ChefSelector():
                return []
            case _:
                assert_never(selector)

    async def resolve(self, selector: Selector) -> list[Target]:
        inventory = self._for(selector)
        if inventory is not None:
            return await inventory.resolve(selector)
        match selector:
            case GroupSelector() | HostSelector():
                raise FailedError(FailureCode.TARGETS_UNKNOWN_HOST, _NO_STATIC)
            case ChefSelector():
                raise FailedError(FailureCode.TARGETS_INVENTORY_UNREACHABLE, _NO_CHEF)
            case _:
                assert_never(selector)

    def _for(self, selector: Selector) -> Inventory | None:
        match selector:
            case GroupSelector() | HostSelector():
                return self._static
            case ChefSelector():
                return self._chef
            case _:
                assert_never(selector)
