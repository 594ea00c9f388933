"""The ten goals of docs/performance.md, each as one coroutine over a ``Bench``."""

from collections.abc import Awaitable, Callable

from benchmarks.bench import Bench
from benchmarks.goals import cheap_hosts, comparing, intake, latency, layer, memory, scaling
from benchmarks.model import GoalResult

GOALS: dict[int, Callable[[Bench], Awaitable[GoalResult]]] = {
    1: comparing.against_tools,
    2: comparing.against_ansible,
    3: layer.alone,
    4: cheap_hosts.loop_lag,
    5: memory.of_a_thousand,
    6: intake.rate_and_delay,
    7: latency.first_byte,
    8: cheap_hosts.cost_per_target,
    9: comparing.recording,
    10: scaling.instances,
}
