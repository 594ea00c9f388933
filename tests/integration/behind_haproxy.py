"""The engine on a fake record and fake hosts, with a real HAProxy."""

from dataclasses import replace

from tests.integration.haproxy_server import DirectHosts, HaproxyServer, TinyApp
from tests.unit.engine.world import InstanceStore, Lines, World

from vesemir.adapters.haproxy import HaproxyBoxes
from vesemir.engine.target.context import EnginePorts
from vesemir.settings import HaproxySettings


class WorldBehindHaproxy(World):
    """Its targets are ``apps``, servers of ``haproxy``."""

    def __init__(self, apps: dict[str, TinyApp], haproxy: HaproxyServer) -> None:
        super().__init__(len(apps))
        self.inventory.targets["lb1"] = haproxy.target

    def ports(self, store: InstanceStore, log: Lines) -> EnginePorts:
        balancers = HaproxyBoxes(DirectHosts(), HaproxySettings())  # type: ignore[arg-type]
        return replace(super().ports(store, log), balancers=balancers)
