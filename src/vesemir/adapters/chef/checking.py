"""Whether the Chef servers of the settings answer, let us in and let us search; for ``vesemir check``."""

from vesemir.adapters.chef.credentials import ChefSettingsError
from vesemir.adapters.chef.inventory import clusters_of
from vesemir.adapters.chef.server import ChefServer
from vesemir.domain.failure import FailedError, VesemirError
from vesemir.settings import InventorySettings

_EVERYTHING = "*:*"


async def check_chef(settings: InventorySettings) -> list[str]:
    """A line for each Chef server, none without one. Raises ``VesemirError`` with a line for each that fails."""
    lines: list[str] = []
    problems: list[str] = []
    for name, cluster in clusters_of(settings).items():
        try:
            async with ChefServer.opened(cluster.model_copy(update={"rows": 1}), cluster=name) as server:
                await server.search(_EVERYTHING, {"name": ["name"]}, start=0)
                lines.append(f"{server.text} answers {cluster.client_name}")
        except (FailedError, ChefSettingsError) as error:
            problems.append(str(error))
    if problems:
        raise VesemirError("\n".join(problems))
    return lines
