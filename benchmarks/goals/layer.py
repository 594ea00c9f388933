"""Goal 3: our SSH layer alone, beside parallel-ssh and the floor."""

from benchmarks.bench import Bench, named
from benchmarks.model import Check, GoalResult, Rounds

SIZES = (200, 500)
CORES = 2
PSSH = "parallel-ssh"


async def alone(bench: Bench) -> GoalResult:
    """``true`` on 200 and 500 hosts, all at once. The floor is what the hosts' own CPU takes on all cores."""
    rounds = Rounds()
    for size in SIZES:
        for _ in range(bench.rounds):
            usage, hosts = await bench.layer(size, what="true")
            floor = hosts / CORES
            rounds.add(
                f"our SSH layer, {size}",
                **{
                    "wall s": usage.wall,
                    "CPU s": usage.cpu,
                    "memory MB": usage.peak_mb,
                    "wall / floor": usage.wall / floor,
                },
            )
            usage, hosts, _ = await bench.peer(named(PSSH), size, steps=1)
            rounds.add(
                f"{PSSH}, {size}",
                **{
                    "wall s": usage.wall,
                    "CPU s": usage.cpu,
                    "memory MB": usage.peak_mb,
                    "wall / floor": usage.wall / (hosts / CORES),
                },
            )
    checks = [
        check
        for size in SIZES
        for check in (
            Check(f"wall / floor, {size} hosts", rounds.median(f"our SSH layer, {size}", "wall / floor"), 1.12),
            Check(
                f"wall / {PSSH}'s, {size} hosts",
                rounds.ratio(f"our SSH layer, {size}", f"{PSSH}, {size}", "wall s"),
                0.75,
            ),
            Check(
                f"CPU / {PSSH}'s, {size} hosts", rounds.ratio(f"our SSH layer, {size}", f"{PSSH}, {size}", "CPU s"), 0.9
            ),
        )
    ]
    return GoalResult(3, "our SSH layer alone: true on 200 and 500 hosts", rounds.lines(), checks)
