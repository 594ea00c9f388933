"""Two instances of a lab with room for one deployment each, and a Prometheus that scrapes them every second."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from tests.acceptance.installed_lab import Lab
from tests.acceptance.running_daemon import Daemon, running
from tests.alerting.prometheus import Prometheus, prometheus
from tests.alerting.shortened import shortened_rules

NAMES = ("watched-a", "watched-b")
OWN = {"VESEMIR_LIMITS__DEPLOYMENTS": "1"}


@dataclass(frozen=True)
class Watched:
    daemons: list[Daemon]
    prometheus: Prometheus


@contextmanager
def watched_lab(lab: Lab, folder: Path) -> Iterator[Watched]:
    """Its rules are the shipped ones, a minute as a second."""
    rules = folder / "rules.yml"
    rules.write_text(yaml.safe_dump(shortened_rules()))
    with ExitStack() as stack:
        daemons = [stack.enter_context(running(lab, folder, name, OWN, own_session=True)) for name in NAMES]
        targets = [daemon.url.removeprefix("http://") for daemon in daemons]
        yield Watched(daemons, stack.enter_context(prometheus(folder, rules, targets)))
