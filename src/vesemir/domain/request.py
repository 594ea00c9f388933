"""A deploy request after it was validated: what the rules work on. The wire format is ``vesemir.contract``'s."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vesemir.domain.recipe import ParameterValue
from vesemir.domain.selector import Selector
from vesemir.domain.share import Share

OWN_SERVER = "{name}"
"""In ``haproxy.server``: the target's name."""

EVERY_BACKEND = "*"
"""``haproxy.backend``: every backend that has a server of the target's name."""

_NONE = Share(0)
_ONE = Share(1)


@dataclass(frozen=True, slots=True)
class TrafficRequest:
    """How targets leave HAProxy and come back. ``weights`` in percent, each held ``degradation_seconds``.

    ``several``: the backends were asked for as a list or by "*", be it for a single one. Instances of 0.1 cannot read
    such a request, so what is recorded for it stands where they do not look.
    """

    targets: Selector
    backends: tuple[str, ...]
    server: str
    drain_seconds: float = 30
    on_drain_timeout: Literal["fail", "shutdown"] = "fail"
    weights: tuple[int, ...] = ()
    degradation_seconds: float = 0
    several: bool = False

    @property
    def every_backend(self) -> bool:
        """Which ones is found out at the start."""
        return self.backends == (EVERY_BACKEND,)

    def server_of(self, target_name: str) -> str:
        """The name of a target's server in the backend."""
        return self.server.replace(OWN_SERVER, target_name)


@dataclass(frozen=True, slots=True)
class Analysis:
    """How the canary is judged by HAProxy's counters."""

    min_requests: int = 200
    hold_seconds: float = 60
    max_error_ratio: float = 0.01


@dataclass(frozen=True, slots=True)
class Rollout:
    """In which order, how many at once, and what a failure means (contract section 2).

    ``min_available`` is None where the request leaves it out: 1, but 0 for a backend of one server.
    """

    concurrency: Share = _ONE
    canary: Share = _NONE
    max_failures: Share = _NONE
    pause_seconds: float = 0
    min_available: Share | None = None
    on_failure: Literal["stop", "rollback", "continue"] = "stop"
    mode: Literal["batch", "window"] = "batch"
    order_by: str | None = None
    approve_after: Literal["canary", "batch", "group"] | None = None
    min_targets: int = 1
    analysis: Analysis | None = None
    prepare: Literal["target", "all"] = "target"
    min_healthy_seconds: float = 2


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds; already capped by the settings."""

    deployment: float = 3600
    target: float = 900
    step: float = 300


@dataclass(frozen=True, slots=True)
class DeployRequest:
    deployment_id: str
    application: str
    environment: str
    version: str
    recipe: str
    targets: Selector
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    team: str | None = None
    requested_by: str | None = None
    haproxy: TrafficRequest | None = None
    rollout: Rollout = Rollout()
    timeouts: Timeouts = Timeouts()
    dry_run: bool = False
    not_before: float | None = None
    not_after: float | None = None
    """When it may begin first, and must have begun: seconds since 1970, by the database's clock."""
    break_glass: str | None = None
    """Why it shall go past locks, freezes and missing promotions."""

    @property
    def lane(self) -> str:
        """At most one deployment is active in a lane."""
        return f"{self.application}/{self.environment}"
