"""The engine's own figures, in seconds unless said otherwise; the composition root fills them from the settings."""

from dataclasses import dataclass, field

from vesemir.domain.action import USUAL_LIMITS, ArtifactLimits
from vesemir.domain.analysis import AnalysisRules
from vesemir.domain.request import Timeouts


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Every interval that follows from the length of a lease, here and nowhere else.

    What they must keep: when an owner no longer trusts its lease, its hosts have ended their steps before the lease
    ends and another instance may claim (``trust + silence < lease``); and a renewal may fail once within the trust.
    """

    seconds: float

    @property
    def renew_seconds(self) -> float:
        """Between two renewals, and what one may take: a sixth of the lease."""
        return self.seconds / 6

    @property
    def trust_seconds(self) -> float:
        """How long the owner trusts a renewal, counted from when it was sent: two thirds of the lease."""
        return self.seconds * 2 / 3

    @property
    def fence_seconds(self) -> float:
        """Between two looks for leases whose trust has run out: a second for a lease of 60 s."""
        return self.seconds / 60

    @property
    def beat_seconds(self) -> float:
        """Between two beats to a host: 3 s for a lease of 60 s."""
        return self.seconds / 20

    @property
    def silence_seconds(self) -> float:
        """Without a beat for so long a host ends its steps: 10 s for a lease of 60 s, so within lease - trust."""
        return self.seconds / 6

    @property
    def publisher_seconds(self) -> float:
        """How long one instance alone publishes to a destination: half the lease."""
        return self.seconds / 2

    @property
    def scan_seconds(self) -> float:
        """Between two looks for what is due, at most: a tenth of the lease."""
        return self.seconds / 10

    @property
    def reconnect_seconds(self) -> float:
        """How long a host that was lost in mid-step is tried again before it is ``unknown``: a lease."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """``settle_seconds`` bounds what is done for a target after it failed (HAProxy put right). ``approval_seconds`` and
    ``pause_seconds`` are how long a gate and any other pause wait for a ``resume``.
    """

    lease: LeaseTimes
    settle_seconds: float
    capacity_seconds: float
    up_seconds: float
    max_expiries: int
    deployments: int
    targets: int
    output_bytes: int
    approval_seconds: float
    pause_seconds: float
    caps: Timeouts
    sessions: int = 100
    """Hosts that are worked on at once, where nothing else bounds it."""
    python: str = "python3"
    artifacts: ArtifactLimits = USUAL_LIMITS
    analysis: AnalysisRules = field(default_factory=AnalysisRules)
