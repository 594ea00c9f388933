"""An inventory in memory; it passes the contract suite that the static inventory passes."""

from collections.abc import Mapping, Sequence

from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.problem import Problem
from vesemir.domain.selector import HOST_NAME, ChefSelector, GroupSelector, HostSelector, Selector
from vesemir.domain.target import Target


class FakeInventory:
    """``groups`` maps names to host names; ``chef`` answers every Chef selector, or is the names by the first tag.

    ``targets`` are its hosts by name, for a test to change; ``failure`` is raised by ``resolve``.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        groups: Mapping[str, Sequence[str]] | None = None,
        chef: Sequence[str] | Mapping[str, Sequence[str]] = (),
    ) -> None:
        self.targets = {target.name: target for target in targets}
        self._groups = dict(groups or {})
        self._chef = chef
        self.failure: FailedError | None = None
        self.asked: list[Selector] = []

    def refuse(self, selector: Selector) -> list[Problem]:
        match selector:
            case GroupSelector(groups):
                unknown = [(index, name) for index, name in enumerate(groups) if name not in self._groups]
                return [Problem(f"inventory.groups[{index}]", f"no group {name}") for index, name in unknown]
            case HostSelector(hosts):
                return [
                    Problem(f"hosts[{index}]", f"no host {name}")
                    for index, name in enumerate(hosts)
                    if HOST_NAME.fullmatch(name) is None or name not in self.targets
                ]
            case ChefSelector():
                return []

    async def resolve(self, selector: Selector) -> list[Target]:
        self.asked.append(selector)
        if self.failure is not None:
            raise self.failure
        problems = self.refuse(selector)
        if problems:
            raise FailedError(FailureCode.TARGETS_UNKNOWN_HOST, "; ".join(problem.message for problem in problems))
        match selector:
            case GroupSelector(groups):
                names = [name for group in groups for name in self._groups[group]]
            case HostSelector(hosts):
                names = list(hosts)
            case ChefSelector():
                names = list(self._chef[selector.tags[0]] if isinstance(self._chef, Mapping) else self._chef)
        if not names:
            raise FailedError(FailureCode.TARGETS_NONE_FOUND, "nothing matches")
        return [self.targets[name] for name in dict.fromkeys(names)]
