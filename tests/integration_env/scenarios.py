"""The scenarios: each tells in a line what was seen, or raises ``AssertionError``."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from tests.chaos.requester import Requester
from tests.integration_env import hosts
from tests.integration_env.artifacts import CRASHING, Artifact
from tests.integration_env.load import load, watching
from tests.integration_env.site import Json, Site, page, until

Scenario = Callable[[Site, Requester], Awaitable[str]]


def before(site: Site) -> Artifact:
    return site.artifacts[0]


def candidate(site: Site) -> Artifact:
    return site.artifacts[1]


async def installed(site: Site, requester: Requester) -> str:
    """Three instances installed from the artifact before the candidate; the unit starts them, HAProxy finds them."""
    began = time.monotonic()
    del requester
    name = f"/srv/vesemir-{before(site).version}/install"
    # One after the other: on two cores side by side is no quicker, and what fails is told apart.
    for instance in site.instances:
        await asyncio.to_thread(site.on, instance, "runuser", "-u", "deploy", "--", name, "--switch", fails=False)
    seconds = time.monotonic() - began
    for instance in site.instances:
        site.on(instance, "systemctl", "daemon-reload")
        site.on(instance, "systemctl", "enable", "--now", "vesemir")
    for instance in site.instances:
        await until(lambda: page(instance.health_url)[0] == 200, f"{instance.name} takes work")  # noqa: B023
    await until(lambda: page(site.health_url)[0] == 200, "an instance behind HAProxy")
    status, printed, errors = await site.command("check")
    assert status == 0, f"vesemir check: {printed}{errors}"
    units = [site.on(each, "systemctl", "is-active", "vesemir") for each in site.instances]
    return f"3 units {'/'.join(units)}; installing took {seconds / 3:.0f} s per host; `vesemir check` is content"


async def adopted(site: Site, requester: Requester) -> str:
    """A deployment of the version that runs already changes nothing, and is what a rollback goes back to."""
    del requester
    pids = [site.main_pid(each) for each in site.instances]
    result, seconds = await _deployed(site, site.upgrade(before(site), "adopt"))
    assert result["status"] == "succeeded", result
    assert pids == [site.main_pid(each) for each in site.instances], "an instance was restarted"
    return f"{result['status']} in {seconds:.0f} s; no process was restarted"


async def upgraded(site: Site, requester: Requester) -> str:
    """All instances from N to N+1 by one event, under continuous deployments."""
    return await _under_load(
        site, requester, lambda: _deployed(site, site.upgrade(candidate(site), "upgrade")), candidate(site)
    )


async def rolled_back(site: Site, requester: Requester) -> str:
    """And back by ``vesemir rollback``."""
    back = ("rollback", "vesemir", "production", "--follow", "--json")
    return await _under_load(site, requester, lambda: _followed(site, *back), before(site))


async def _under_load(
    site: Site, requester: Requester, work: Callable[[], Awaitable[tuple[Json, float]]], wanted: Artifact
) -> str:
    async with watching(site.health_url) as watch, load(site, requester) as asked:
        await until(lambda: bool(asked.requester.seen), "the first deployment")
        result, seconds = await work()
    assert result["status"] == "succeeded", result
    versions = {page(each.health_url)[1].get("version") for each in site.instances}
    assert versions == {wanted.version}, f"the instances are {versions}"
    assert not asked.troubles, asked.summary
    assert not watch.failed, watch.summary
    takeovers = result["metrics"]["takeovers"]
    assert takeovers, "whoever carries it out is restarted by it at least once"
    return f"{seconds:.0f} s, {takeovers} takeovers of its own; {asked.summary}; {watch.summary}"


async def crashing(site: Site, requester: Requester) -> str:
    """A version that crashes at start is rolled back by itself; the other instances are never stopped."""
    bad = next(each for each in site.artifacts if each.version == CRASHING)
    pids = {each.name: site.main_pid(each) for each in site.instances}
    async with watching(site.health_url) as watch, load(site, requester) as asked:
        result, seconds = await _deployed(site, site.upgrade(bad, "crashing"))
    assert result["status"] == "rolled_back", result
    same = [each.name for each in site.instances if site.main_pid(each) == pids[each.name]]
    assert len(same) == len(site.instances) - 1, f"these were never stopped: {same}"
    versions = {page(each.health_url)[1].get("version") for each in site.instances}
    assert len(versions) == 1, versions
    assert CRASHING not in versions, versions
    assert not asked.troubles, asked.summary
    assert not watch.failed, watch.summary
    return f"rolled_back after {seconds:.0f} s; {' and '.join(same)} never stopped; {asked.summary}; {watch.summary}"


async def blocked(site: Site, requester: Requester) -> str:
    """Fault 9: a blocked event loop; systemd's watchdog starts the process again, another instance takes over."""
    stuck = site.instances[0]
    armed = stuck.root / "etc" / "vesemir" / "vesemir.env"
    drop_in = stuck.root / "etc" / "systemd" / "system" / "vesemir.service.d" / "watchdog.conf"
    armed.write_text("VESEMIR_FAILPOINT=step.before_send\nVESEMIR_FAILPOINT_DEED=block\n")
    drop_in.write_text("[Service]\nWatchdogSec=6\nTimeoutAbortSec=5\n")
    site.on(stuck, "systemctl", "daemon-reload")
    site.on(stuck, "systemctl", "restart", "vesemir")
    armed.unlink()
    await until(lambda: page(stuck.health_url)[0] == 200, f"{stuck.name} takes work")
    pid = site.main_pid(stuck)
    async with load(site, requester) as asked:
        await until(lambda: page(stuck.health_url)[0] == 0, f"{stuck.name} is blocked", seconds=180)
        began = time.monotonic()
        await until(lambda: page(stuck.health_url)[0] == 200, f"{stuck.name} takes work again")
        seconds = time.monotonic() - began
    drop_in.unlink()
    site.on(stuck, "systemctl", "daemon-reload")
    assert site.main_pid(stuck) != pid
    said = site.on(stuck, "journalctl", "--unit", "vesemir", "--grep", "atchdog", "--output", "cat", fails=True)
    assert "Watchdog timeout" in said or "watchdog" in said, f"the journal says: {said}"
    assert not asked.troubles, asked.summary
    assert asked.taken_over, asked.summary
    return f"started again after {seconds:.0f} s (WatchdogSec=6); {asked.summary}"


async def mixed(site: Site, requester: Requester) -> str:
    """Fault 31: an old and a new instance side by side; each is killed at work, and the other goes on with it."""
    new, old, third = site.instances
    result, _ = await _deployed(site, site.upgrade(candidate(site), "mixed", [new]))
    assert result["status"] == "succeeded", result
    await asyncio.to_thread(site.on, third, "systemctl", "stop", "vesemir")
    async with load(site, requester, seconds=4) as asked:
        for victim in (new, old):
            done = asked.done()
            await until(lambda: asked.done() > done + 2, "work that is done")  # noqa: B023
            await until(lambda: asked.began(victim.name), f"work for {victim.name}")  # noqa: B023
            await asyncio.to_thread(site.on, victim, "systemctl", "kill", "--signal=KILL", "vesemir")
            await until(lambda: page(victim.health_url)[0] == 200, f"{victim.name} takes work again")  # noqa: B023
    versions = [str(page(each.health_url)[1].get("version")) for each in (new, old)]
    assert versions == [candidate(site).version, before(site).version], versions
    assert not asked.troubles, asked.summary
    assert asked.taken_over >= len(versions), asked.summary
    await asyncio.to_thread(site.on, third, "systemctl", "start", "vesemir")
    await until(lambda: page(third.health_url)[0] == 200, f"{third.name} takes work")
    result, _ = await _deployed(site, site.upgrade(before(site), "mixed-end"))
    assert result["status"] == "succeeded", result
    return f"{' and '.join(versions)} side by side, each killed at work; {asked.summary}"


async def released(site: Site, requester: Requester) -> str:
    """Recipe ``release`` on real units, hosts by Chef tags, behind HAProxy, with a sudo rule for one command."""
    del requester
    told = []
    for version in ("2.0.0", "2.1.0"):
        result, seconds = await _deployed(site, site.event(version, chef=True))
        assert result["status"] == "succeeded", result
        told.append(f"{version} in {seconds:.0f} s")
    broken = site.event("3.0.0-broken", chef=True)
    broken["rollout"]["on_failure"] = "rollback"
    result, seconds = await _deployed(site, broken)
    assert result["status"] == "rolled_back", result
    links = {(box.root / "srv" / "shop" / "current").readlink().name for box in site.boxes}
    assert links == {"2.1.0"}, links
    rule = (site.boxes[0].root / "etc" / "sudoers.d" / "shop").read_text().splitlines()[-1]
    return f"{', '.join(told)}; 3.0.0-broken rolled back in {seconds:.0f} s; all that sudo allows: {rule}"


async def packaged(site: Site, requester: Requester) -> str:
    """Recipe ``package`` from a real apt repository, real units, and a supervisor that may run nothing else as root."""
    del requester
    told = [await _brought(site, hosts.PACKAGED, version) for version in hosts.VERSIONS]
    result, _ = await _deployed(site, _of(site, hosts.PACKAGED, "9.9-9"))
    assert result["status"] == "rolled_back", result
    serving = {page(f"http://{box.address}:{hosts.PORTS[hosts.PACKAGED]}/")[1].get("version") for box in site.boxes}
    assert serving == {hosts.VERSIONS[-1]}, serving
    return f"{', '.join(told)}; 9.9-9, which the repository lacks: {result['status']}; {_least(site)}"


async def cooked(site: Site, requester: Requester) -> str:
    """Recipe ``chef-client``, with a stand-in for Chef's client: Debian 12 has none."""
    del requester
    told = [await _brought(site, hosts.COOKED, version) for version in ("1.0", "2.0")]
    return f"{', '.join(told)}, by a stand-in for chef-client; {_least(site)}"


async def _brought(site: Site, application: str, version: str) -> str:
    result, seconds = await _deployed(site, _of(site, application, version))
    assert result["status"] == "succeeded", result
    serving = {page(f"http://{box.address}:{hosts.PORTS[application]}/")[1].get("version") for box in site.boxes}
    assert serving == {version}, f"{application} serves {serving}"
    return f"{version} in {seconds:.0f} s"


def _of(site: Site, application: str, version: str) -> Json:
    return hosts.event(application, version, hosts=hosts.names(application, len(site.boxes)))


def _least(site: Site) -> str:
    """What root gives away for these recipes, as an administrator reads it; that it is no more, sudo itself says."""
    box = site.boxes[0]
    refused = site.on(box, "runuser", "-u", "deploy", "--", "sudo", "-n", "id", fails=True)
    assert not refused, f"deploy may run id as root: {refused}"
    rule = (box.root / "etc" / "sudoers.d" / "vesemir").read_text().strip()
    lines = (box.root / "etc" / "vesemir" / "supervisor.rules").read_text().splitlines()
    return f"all that sudo allows: {rule}, which runs {len(lines)} things as root"


async def _deployed(site: Site, event: Json) -> tuple[Json, float]:
    """By ``vesemir deploy --follow``, as an operator does it: the result, and the seconds it took."""
    file = site.folder.parent / f"{event['deployment_id']}.json"
    file.write_text(json.dumps(event))
    return await _followed(site, "deploy", "--file", str(file), "--follow", "--json")


async def _followed(site: Site, *words: str) -> tuple[Json, float]:
    began = time.monotonic()
    _, printed, errors = await site.command(*words)
    try:
        return json.loads(printed), time.monotonic() - began
    except ValueError:
        raise AssertionError(f"vesemir {' '.join(words)} said {printed} {errors}") from None


SCENARIOS: dict[str, Scenario] = {
    "installed": installed,
    "adopted": adopted,
    "released": released,
    "packaged": packaged,
    "cooked": cooked,
    "upgraded": upgraded,
    "rolled-back": rolled_back,
    "crashing": crashing,
    "mixed": mixed,
    "blocked": blocked,
}
