"""The port to inventories: from a selector to targets."""

from typing import Protocol

from vesemir.domain.problem import Problem
from vesemir.domain.selector import Selector
from vesemir.domain.target import Target


class Inventory(Protocol):
    """Where hosts are known: the static file, a Chef server, or the router over both."""

    def refuse(self, selector: Selector) -> list[Problem]:
        """What can be said at once, without the network: hosts that no inventory can know by their form, hosts and
        groups that the static inventory does not have. A request with such a problem is refused
        (``targets.unknown_host``, or the problem's own ``code``). ``field`` is relative to the selector: ``hosts[1]``,
        ``inventory.groups[0]``.
        It may read a file that has changed, which takes a while: call it in a thread (``asyncio.to_thread``).
        """
        ...

    async def resolve(self, selector: Selector) -> list[Target]:
        """The targets, each once, in an order that stays the same; never an empty list.

        Raises ``FailedError``: ``targets.none_found``, ``targets.unknown_host``, ``targets.inventory_unreachable``,
        ``targets.inventory_denied``, ``targets.invalid_attributes``; ``request.forbidden``, ``request.invalid``.
        """
        ...
