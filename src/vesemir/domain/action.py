"""What the engine carries out for a rendered step. Everything in it is final: no placeholder is left."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vesemir.domain.doing import PhaseName
from vesemir.domain.failure import FailureCode
from vesemir.domain.step import Command

EXIT_UNAVAILABLE = 3
EXIT_MISMATCH = 4
PLACING_FAILURES: Mapping[int, FailureCode] = {
    EXIT_UNAVAILABLE: FailureCode.ARTIFACT_UNAVAILABLE,
    EXIT_MISMATCH: FailureCode.ARTIFACT_CHECKSUM_MISMATCH,
}
"""What the exit statuses of placing a file mean (``vesemir.engine.target.placement``)."""


@dataclass(frozen=True, slots=True)
class ArtifactLimits:
    """How large an artifact may be, as it comes and unpacked: a small file can unpack to more than a disk holds."""

    max_bytes: int = 4 * 1024**3
    max_entries: int = 250_000
    max_unpacked_bytes: int = 8 * 1024**3


USUAL_LIMITS = ArtifactLimits()


@dataclass(frozen=True, slots=True)
class RunAction:
    command: Command


@dataclass(frozen=True, slots=True)
class PutAction:
    """Bring ``source`` (a file of the instance) or ``content`` to the host, then run ``place_command``."""

    destination: str
    source: str | None
    content: bytes | None = field(repr=False)
    mode: int
    owner: str
    group: str
    sha256: str
    sudo: bool
    timeout: float
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class FetchAction:
    """``file://``: upload it, then ``place_command``; ``http(s)://``: ``fetch_command``."""

    url: str
    destination: str
    mode: int
    owner: str
    group: str
    sha256: str
    sudo: bool
    timeout: float
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    max_bytes: int = USUAL_LIMITS.max_bytes


@dataclass(frozen=True, slots=True)
class HttpProbe:
    url: str
    status: int
    contains: str | None = None
    json: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TcpProbe:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class CheckAction:
    """Try every ``interval`` seconds; ``deadline`` seconds after the first try it has failed.

    It has passed when all tries of ``stable_seconds`` did.
    """

    probe: HttpProbe | TcpProbe | Command
    interval: float
    deadline: float
    stable_seconds: float = 0.0


Action = RunAction | PutAction | FetchAction | CheckAction


@dataclass(frozen=True, slots=True)
class RenderedStep:
    """``failures`` maps exit statuses to codes; any other failure of the step is ``failure``. ``on_failure_show`` is
    run when it has failed for good, for its output. ``phase`` is the part of the deployment that it belongs to."""

    name: str
    action: Action
    idempotent: bool
    retries: int
    failures: Mapping[int, FailureCode]
    timeout: float
    failure: FailureCode = FailureCode.STEP_FAILED
    on_failure_show: Command | None = None
    phase: PhaseName = "target"
