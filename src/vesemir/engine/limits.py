"""The engine's own figures, in seconds unless said otherwise; the composition root fills them from the settings."""

from dataclasses import dataclass, field

from vesemir.domain.analysis import AnalysisRules
from vesemir.domain.request import Timeouts


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """``reconnect_seconds``: how long a host that was lost in mid-step is tried again before it is ``unknown``.

    ``settle_seconds`` bounds what is done for a target after it failed (HAProxy put right). ``approval_seconds`` and
    ``pause_seconds`` are how long a gate and any other pause wait for a ``resume``.
    """

    lease_seconds: float
    beat_seconds: float
    silence_seconds: float
    reconnect_seconds: float
    settle_seconds: float
    shutdown_seconds: float
    capacity_seconds: float
    up_seconds: float
    max_expiries: int
    deployments: int
    targets: int
    output_bytes: int
    approval_seconds: float
    pause_seconds: float
    caps: Timeouts
    python: str = "python3"
    analysis: AnalysisRules = field(default_factory=AnalysisRules)
