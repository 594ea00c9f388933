"""Faults 24 to 28, 33 and 34: the way to a box breaks, the box reboots, a step misbehaves, the box is not as it was."""

import asyncio
import os
import random
import secrets
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.chaos.arena import LEASE_SECONDS, Arena, Deployment, until
from tests.chaos.proxy import ChaosProxy
from tests.chaos.servers import alive
from tests.chaos.verdict import Try

DEAD_SECONDS = 15.0
KEEPALIVE = {"VESEMIR_SSH__KEEPALIVE_SECONDS": "1", "VESEMIR_SSH__KEEPALIVE_MISSES": "3"}

HARD = """\
python3 - "$1" <<'END' &
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            words = "import signal,time;signal.signal(15,1);time.sleep(900)#MARK"
            os.execve(sys.executable, ["python3", "-c", words], {})
        os._exit(0)
print("up", flush=True)
time.sleep(900)
END
trap '' TERM HUP INT"""
"""Ignores signals, calls setsid, forks twice, clears its environment and keeps standard output open."""


def marked(mark: str) -> list[int]:
    """Living processes with that word in their command line or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes() and alive(int(entry.name)):
                    found.append(int(entry.name))
    return found


async def _through_proxies(arena: Arena) -> tuple[list[Deployment], dict[str, ChaosProxy]]:
    """Two instances that reach the boxes through proxies, and deployments that are running on some."""
    await arena.crew(0)
    boxes = [box["name"] for box in arena.lab.boxes][:3]
    proxies, variables = await arena.ssh_proxies(boxes)
    await asyncio.gather(*(arena.start(**variables, **KEEPALIVE) for _ in range(2)))
    asked = [await arena.deploy(boxes=boxes, seconds=1.5) for _ in range(4)]
    return asked, proxies


async def _struck(arena: Arena, blow: Try, asked: list[Deployment], moment: float, *, within: float) -> None:
    """What ran at that moment is dead in time, and verified: done again, for its marker says that it broke off."""
    blow.look_at(*asked)
    before = {each.id: [run for run in arena.runs(each) if not run.ended] for each in asked}
    for each in asked:
        await arena.result(each)
        now = {run.nonce: run for run in arena.runs(each)}
        late = [now[run.nonce] for run in before[each.id] if now[run.nonce].last > moment + within]
        late = [run for run in late if not run.ended or run.last > moment + DEAD_SECONDS]
        blow.expect(not late, f"{each.id}: still at work {within:g} s after: {late}")
    blow.tries = len(asked)


async def ssh_cut(arena: Arena, blow: Try) -> None:
    asked, proxies = await _through_proxies(arena)
    for each in asked:
        await arena.running(each)
    await asyncio.sleep(random.uniform(0, 1.0))
    moment = time.time()
    for proxy in proxies.values():
        proxy.cut()
    blow.strike(*asked, at=moment)
    await _struck(arena, blow, asked, moment, within=DEAD_SECONDS)


async def ssh_blackhole(arena: Arena, blow: Try) -> None:
    """The host ends the step when the beat stops: long before anybody's keepalive."""
    asked, proxies = await _through_proxies(arena)
    for each in asked:
        await arena.running(each)
    await asyncio.sleep(random.uniform(0, 0.8))
    moment = time.time()
    for proxy in proxies.values():
        proxy.blackhole()
    silent = LEASE_SECONDS * random.uniform(0.6, 1.2)
    for proxy in proxies.values():
        asyncio.get_running_loop().call_later(silent, proxy.heal)
    blow.strike(*asked, at=moment + silent)
    await _struck(arena, blow, asked, moment, within=LEASE_SECONDS)


async def box_reboots(arena: Arena, blow: Try) -> None:
    """Everything on the box dies at once, and its sshd comes back: redone if idempotent, else said."""
    await arena.crew(2)
    box = random.choice(arena.lab.boxes)["name"]
    mild = await arena.deploy(boxes=[box], seconds=4)
    strict = await arena.deploy(boxes=[box], seconds=4, idempotent=False)
    blow.look_at(mild)
    blow.look_at(strict, status="failed")
    await asyncio.gather(arena.running(mild), arena.running(strict))
    await asyncio.sleep(random.uniform(0, 0.7))
    await arena.lab.stop(f"{box}/sshd", signal.SIGKILL, tree=True)
    await asyncio.sleep(random.uniform(0.2, 2.0))
    await arena.lab.start(f"{box}/sshd")
    blow.strike(mild)
    result = await arena.result(strict)
    codes = [target["failure"]["code"] for target in result["targets"] if target["failure"]]
    blow.expect(codes == ["target.state_unknown"], f"not idempotent, and ended with {codes}")
    blow.expect(len(arena.runs(strict)) == 1, "not idempotent, and run again")
    blow.tries = 1


async def output(arena: Arena, blow: Try) -> None:
    """1 GiB from one step; the Must show command ``output`` has ten at once."""
    await arena.crew(2)
    asked = await arena.deploy(boxes=1, seconds=0.2, during="head -c 1073741824 /dev/zero | tr '\\0' x")
    blow.look_at(asked)
    owner = await arena.owned(asked)
    await arena.result(asked)
    row = await arena.record.fetchrow("SELECT * FROM step WHERE deployment_id = $1", asked.id)
    blow.expect(
        row and row["output_truncated"] and row["output_bytes"] == 2**30, f"recorded: {row and row['output_bytes']}"
    )
    blow.expect(owner.memory_kib() < 200 * 1024, f"{owner.memory_kib() // 1024} MB at its peak")
    blow.tries = 1


async def will_not_die(arena: Arena, blow: Try, *, how: str | None = None) -> None:
    """Cancelled, timed out, or its instance killed: the tree is dead on the host within 15 s."""
    how = how or random.choice(("cancel", "timeout", "kill"))
    mark = f"hard{secrets.token_hex(8)}"
    await arena.crew(2)
    hard = HARD.replace("MARK", mark)
    own = {"timeouts": {"step": 3}} if how == "timeout" else {}
    asked = await arena.deploy(boxes=1, seconds=600, during=hard, **own)
    blow.look_at(asked, status="failed" if how == "timeout" else "cancelled")
    await arena.running(asked)
    await until(lambda: len(marked(mark)) >= 4, seconds=30, what="the tree is up")
    first = set(marked(mark))
    if how == "kill":
        victim = await arena.owned(asked)
        await victim.kill()
    elif how == "cancel":
        await arena.requester.control("cancel", asked.id)
    begun = time.monotonic()
    await until(lambda: not first & set(marked(mark)), seconds=60, what="the tree is dead")
    taken = time.monotonic() - begun - (3 if how == "timeout" else 0)
    blow.recoveries.append(max(0.0, taken))
    blow.expect(taken < DEAD_SECONDS, f"after {how} the tree was dead only {taken:.1f} s later")
    if how == "kill":
        await arena.requester.control("cancel", asked.id)
    await arena.result(asked)
    await until(lambda: not marked(mark), seconds=DEAD_SECONDS, what="nothing is left")
    blow.tries = 1


async def host_key_changed(arena: Arena, blow: Try) -> None:
    await arena.crew(0)
    _, variables = await arena.ssh_proxies([])
    known = Path(variables["VESEMIR_SSH__KNOWN_HOSTS"])
    box, other = random.sample(arena.lab.boxes, 2)
    lines = known.read_text().splitlines()
    place, stranger = f"[{box['address']}]:{box['port']}", f"[{other['address']}]:{other['port']}"
    key = next(line.split(" ", 1)[1] for line in lines if line.startswith(f"{stranger} "))
    known.write_text("\n".join(f"{place} {key}" if line.startswith(f"{place} ") else line for line in lines) + "\n")
    await asyncio.gather(*(arena.start(**variables) for _ in range(2)))
    asked = await arena.deploy(boxes=[box["name"]])
    fine = await arena.deploy(boxes=[other["name"]], seconds=0.2)
    blow.look_at(asked, status="failed")
    blow.look_at(fine)
    result = await arena.result(asked)
    codes = [target["failure"]["code"] for target in result["targets"]]
    blow.expect(codes == ["ssh.host_key_mismatch"], f"ended with {codes}")
    blow.expect(not arena.runs(asked), "something was run on a box with another key")
    blow.tries = 1


async def full_disk_and_noise(arena: Arena, blow: Try) -> None:
    """A box without room for markers fails clearly; one whose login prints is read all the same."""
    await arena.crew(0)
    full, noisy = random.sample(arena.lab.boxes, 2)
    _, variables = await arena.ssh_proxies([])
    folder = await _full_folder(arena)
    file = Path(variables["VESEMIR_INVENTORY__FILE"])
    file.write_text(file.read_text().replace(str(arena.lab.state_folder(full["name"])), str(folder)))
    await asyncio.gather(*(arena.start(**variables) for _ in range(2)))
    configuration = arena.lab.folder / "boxes" / noisy["name"] / "etc" / "ssh" / "sshd_config"
    before = configuration.read_text()
    noise = 'ForceCommand seq 100000; printf "\\000\\377E\\000\\000"; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
    configuration.write_text(before + noise)
    try:
        os.kill(arena.lab.server(f"{noisy['name']}/sshd").pid, signal.SIGHUP)
        no_room = await arena.deploy(boxes=[full["name"]])
        loud = await arena.deploy(boxes=[noisy["name"]], seconds=0.3)
        blow.look_at(no_room, status="failed")
        blow.look_at(loud)
        result = await arena.result(no_room)
        failures = [target["failure"] for target in result["targets"]]
        said = bool(failures) and failures[0]["code"] in {"target.unsupported", "step.failed"}
        blow.expect(said and not arena.runs(no_room), f"no room for markers: {failures}")
        await arena.result(loud)
    finally:
        configuration.write_text(before)
        os.kill(arena.lab.server(f"{noisy['name']}/sshd").pid, signal.SIGHUP)
        await _run("umount", str(folder))
    blow.tries = 1


async def _full_folder(arena: Arena) -> Path:
    """A file system of its own without a free byte; where mounting is not allowed, a folder below a file."""
    folder = arena.logs / f"full-{secrets.token_hex(4)}"
    folder.mkdir()
    if await _run("mount", "-t", "tmpfs", "-o", "size=16k,mode=777", "none", str(folder)) != 0:
        (folder / "file").write_text("")
        return folder / "file" / "state"
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as out:
        while True:
            out.write(b"x" * 512)
    return folder


async def _run(*words: str) -> int:
    child = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
    return await child.wait()
