"""Goals 1, 2 and 9: the whole product beside tools that only run the commands."""

from benchmarks.bench import Bench, named
from benchmarks.model import Check, GoalResult, Rounds
from benchmarks.product import Product, event

OURS = "vesemir"
TOOLS = ("parallel-ssh", "clush", "fabric", "pyinfra")
ANSIBLE = ("ansible command", "ansible raw")
ANSIBLE_ROUNDS = 2
"""More than a minute each, whose spread is small beside the distance."""
SIZES = (100, 200)
STEPS = 5
DATABASE_SIZE = 200


async def against_tools(bench: Bench) -> GoalResult:
    """Five steps on 100 and 200 hosts."""
    checks: list[Check] = []
    rounds = Rounds()
    async with bench.on_farm(1, *SIZES) as product:
        await product.deploy(event("first-1"))  # what only the first deployment of a process costs
        for size in SIZES:
            for _ in range(bench.rounds):
                await _ours(bench, product, rounds, size)
                usage, hosts = await bench.layer(size, what="login")
                rounds.add(f"login alone, {size}", **{"wall s": usage.wall, "hosts' CPU ms/host": hosts / size * 1000})
                for name in TOOLS:
                    await _peer(bench, rounds, name, size)
            checks += _checks(rounds, size)
    return GoalResult(
        1, "five steps on 100 and 200 hosts, beside tools that do only the SSH part", rounds.lines(), checks
    )


def _checks(rounds: Rounds, size: int) -> list[Check]:
    ours = f"{OURS}, {size}"
    beyond = rounds.median(ours, "hosts' CPU ms/host") - rounds.median(f"login alone, {size}", "hosts' CPU ms/host")
    cpu = {name: rounds.ratio(ours, f"{name}, {size}", "CPU s") for name in TOOLS}
    wall = {name: rounds.ratio(ours, f"{name}, {size}", "wall s") for name in TOOLS}
    return [
        Check(f"CPU of the daemon / parallel-ssh's, {size} hosts", cpu["parallel-ssh"], 2),
        *(Check(f"CPU of the daemon / {name}'s, {size} hosts", cpu[name], 1) for name in TOOLS[1:]),
        Check(f"hosts' CPU beyond the login, {size} hosts", beyond, 35, "ms"),
        Check(f"wall / parallel-ssh's, {size} hosts", wall["parallel-ssh"], 1.5),
        Check(f"wall / pyinfra's, {size} hosts", wall["pyinfra"], 1),
    ]


async def against_ansible(bench: Bench) -> GoalResult:
    """Five tasks on 100 hosts: of its ``command`` module, and ``raw``."""
    rounds, size = Rounds(), SIZES[0]
    async with bench.on_farm(1, size) as product:
        await product.deploy(event("first-1"))
        for _ in range(min(bench.rounds, ANSIBLE_ROUNDS)):
            await _ours(bench, product, rounds, size)
            for name in ANSIBLE:
                await _peer(bench, rounds, name, size)
    ours = f"{OURS}, {size}"
    limits = dict(zip(ANSIBLE, (0.1, 0.3), strict=True))
    checks = [
        check
        for name, wall in limits.items()
        for check in (
            Check(f"wall / {name}'s", rounds.ratio(ours, f"{name}, {size}", "wall s"), wall),
            Check(f"CPU / {name}'s", rounds.ratio(ours, f"{name}, {size}", "CPU s"), 0.08),
        )
    ]
    return GoalResult(2, "the same beside Ansible: five tasks on 100 hosts", rounds.lines(), checks)


async def recording(bench: Bench) -> GoalResult:
    """What the record costs the database, per target of a five-step deployment."""
    rounds = Rounds()
    async with bench.on_farm(1, DATABASE_SIZE) as product:
        await product.deploy(event("first-1"))
        for _ in range(bench.rounds):
            before = await product.transactions()
            rollout = await product.deploy(event(f"first-{DATABASE_SIZE}"))
            bench.farm.wait_quiet()
            commits = await product.transactions() - before
            rounds.add(
                OURS,
                **{
                    "database CPU ms/target": rollout.database_cpu / DATABASE_SIZE * 1000,
                    "transactions/target": commits / DATABASE_SIZE,
                    "events/target": rollout.events / DATABASE_SIZE,
                },
            )
    checks = [
        Check("database CPU per target", rounds.median(OURS, "database CPU ms/target"), 1.5, "ms"),
        Check("transactions per event: grouped", _per_event(rounds), 0.5),
    ]
    return GoalResult(9, f"recording: five steps on {DATABASE_SIZE} hosts", rounds.lines(), checks)


def _per_event(rounds: Rounds) -> float:
    return rounds.median(OURS, "transactions/target") / rounds.median(OURS, "events/target")


async def _ours(bench: Bench, product: Product, rounds: Rounds, size: int) -> None:
    before = bench.farm.cpu()
    rollout = await product.deploy(event(f"first-{size}"))
    bench.farm.wait_quiet()
    if rollout.succeeded != size:
        raise RuntimeError(f"only {rollout.succeeded} of {size} targets succeeded: {rollout.result['failure']}")
    rounds.add(
        f"{OURS}, {size}",
        **{
            "wall s": rollout.wall,
            "CPU s": rollout.daemon_cpu,
            "hosts' CPU ms/host": (bench.farm.cpu() - before) / size * 1000,
            "memory MB": product.peak_mb(),
            "failures": 0,  # one would have raised above
        },
    )


async def _peer(bench: Bench, rounds: Rounds, name: str, size: int) -> None:
    usage, hosts, failures = await bench.peer(named(name), size, steps=STEPS)
    rounds.add(
        f"{name}, {size}",
        **{
            "wall s": usage.wall,
            "CPU s": usage.cpu,
            "hosts' CPU ms/host": hosts / size * 1000,
            "memory MB": usage.peak_mb,
            "failures": failures,
        },
    )
