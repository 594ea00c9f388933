"""Fifteen ways to fail and more, one per group of codes: how each is provoked, and how its runbook entry mends it.

Each case deploys to real boxes of the lab (or to the hosts of ``failing_sites`` beside them) and fails there. ``mend``
does what the entry says, and returns the deploy event that must succeed then.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.failing_sites import Sites
from tests.acceptance.installed_lab import Event, Lab, vesemir
from tests.acceptance.patience import until

ROOT = os.geteuid() == 0
"""Who may mount a file system and start an sshd for somebody else."""
PLAIN = "web2"
"""Where scripts run that move no traffic. Not web6, whose host key is another one for these daemons."""
HASTY = "release-hasty"
"""The recipe ``release``, but for the patience of its health checks."""
HANGING = "web4"
"""A request hangs there until every result is in."""


@dataclass(frozen=True)
class Case:
    """``make`` may prepare hosts; ``mend`` undoes that, too."""

    make: Callable[[Lab, Sites], Event]
    mend: Callable[[Lab, Sites, Event], Event]
    needs_root: bool = False


def script(text: str, *boxes: str, **changes: Any) -> Callable[[Lab, Sites], Event]:
    """``lab-script`` in a lane of its own."""
    return lambda lab, _: lab.script(text, *boxes, **changes)


def again(lab: Lab, sites: Sites, event: Event) -> Event:
    """The cause is gone: the same event under a new id."""
    del lab, sites
    return event | {"deployment_id": f"{event['deployment_id']}-again"}


def with_changes(**changes: Any) -> Callable[[Lab, Sites, Event], Event]:
    """The request is mended."""
    return lambda lab, sites, event: again(lab, sites, event) | changes


def set_ready(lab: Lab, event: Event, name: str) -> None:
    """Type what ``vesemir status ID`` prints for a server that the failed deployment left drained."""
    said = vesemir("status", event["deployment_id"], env=lab["env"])
    command = next(line for line in said.splitlines() if line.strip().startswith("vesemir ready "))
    assert f" {name} " in command
    vesemir(*shlex.split(command)[1:], env=lab["env"])
    until(lambda: lab.servers()[name].is_back, what=f"{name} is back in traffic")


def rewrite(file: Path, text: str) -> None:
    """By one rename, as a careful person's editor does: a daemon reads the old text or the new one."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


# --- the ways ------------------------------------------------------------------------------------------------------


def correct_the_port(lab: Lab, sites: Sites, event: Event) -> Event:
    """ssh.unreachable: "correct its address or port in the inventory"."""
    box, file = lab.box(PLAIN), Path(sites.settings["VESEMIR_INVENTORY__FILE"])
    text = file.read_text()
    wrong = f'[hosts.closed]\naddress = "127.0.0.1"\nport = {sites.closed_port}\n'
    assert wrong in text
    rewrite(file, text.replace(wrong, f'[hosts.closed]\naddress = "{box["address"]}"\nport = {box["port"]}\n'))
    return again(lab, sites, event)


def authorize_the_key(lab: Lab, sites: Sites, event: Event) -> Event:
    """ssh.auth_failed: "put the public half of ssh.client_key into that user's authorized_keys"."""
    shutil.copy(f"{lab['client_key']}.pub", sites.folder / "stranger" / "authorized_keys")
    return again(lab, sites, event)


def pin_the_new_key(lab: Lab, sites: Sites, event: Event) -> Event:
    """ssh.host_key_mismatch: "replace the line, on every instance"."""
    web6, file = lab.box("web6"), Path(sites.settings["VESEMIR_SSH__KNOWN_HOSTS"])
    place = f"[{web6['address']}]:{web6['port']} "
    right = next(line for line in Path(lab["known_hosts"]).read_text().splitlines() if line.startswith(place))
    lines = [right if line.startswith(place) else line for line in file.read_text().splitlines()]
    rewrite(file, "\n".join(lines) + "\n")
    return again(lab, sites, event)


def two_in_a_group_of_one(lab: Lab, sites: Sites) -> Event:
    file = Path(sites.settings["VESEMIR_INVENTORY__FILE"])
    rewrite(file, file.read_text() + '\n[groups.pair]\nhosts = ["web2"]\n')
    event = lab.script("true", rollout={"min_targets": 2})
    return event | {"targets": {"inventory": {"groups": ["pair"]}}}


def add_the_missing_host(lab: Lab, sites: Sites, event: Event) -> Event:
    """targets.too_few: "bring the missing hosts into the inventory"."""
    file = Path(sites.settings["VESEMIR_INVENTORY__FILE"])
    rewrite(file, file.read_text().replace('hosts = ["web2"]', 'hosts = ["web2", "web5"]'))
    return again(lab, sites, event)


def blocked_by_a_lock(lab: Lab, sites: Sites) -> Event:
    del sites
    (lab.root(PLAIN) / "held.lock").touch()
    waits = 'while [ -e "$BOX_ROOT/held.lock" ]; do echo "waiting for held.lock"; sleep 0.2; done'
    return lab.script(waits, PLAIN, timeouts={"step": 2})


def remove_the_lock(lab: Lab, sites: Sites, event: Event) -> Event:
    """step.timed_out: "remove what blocks"."""
    (lab.root(PLAIN) / "held.lock").unlink()
    return again(lab, sites, event)


def grant_sudo(lab: Lab, sites: Sites, event: Event) -> Event:
    """step.failed: "a message that begins with sudo says which line sudoers needs". Its namespace has its own file."""
    with (sites.folder / "plain" / "sudoers").open("a") as sudoers:  # bound into its namespace: not renamed
        sudoers.write("deploy ALL=(root) NOPASSWD: ALL\n")
    return again(lab, sites, event)


def without_a_state_folder(lab: Lab, sites: Sites) -> Event:
    """The host's state folder lies below something that is a file."""
    blocking = sites.folder / "blocking"
    blocking.write_text("in the way\n")
    box, file = lab.box(PLAIN), Path(sites.settings["VESEMIR_INVENTORY__FILE"])
    rewrite(
        file,
        f'{file.read_text()}\n[hosts.stateless]\naddress = "{box["address"]}"\nport = {box["port"]}\n'
        f'user = "{box["user"]}"\n[hosts.stateless.variables]\nvesemir_state_dir = "{blocking}/state"\n'
        f'root = "{lab.root(PLAIN)}"\n',
    )
    return lab.script("true", "stateless")


def make_room_for_the_state(lab: Lab, sites: Sites, event: Event) -> Event:
    """target.unsupported: "make room; correct the owner of the state folder"."""
    (sites.folder / "blocking").unlink()
    return again(lab, sites, event)


def on_a_full_disk(lab: Lab, sites: Sites) -> Event:
    """web5's application lies on a file system of its own, with hardly a byte free."""
    del sites
    releases = lab.app_root("web5") / ".vesemir"
    releases.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=777", "none", str(releases)], check=True, timeout=20)
    (releases / "filler").write_bytes(b"x" * 4096)
    return lab.event("2.0.0", targets={"hosts": ["web5"]}, application="shop-full", haproxy=lab.haproxy_part)


def unmount(lab: Lab) -> None:
    """In a test that broke off, too."""
    subprocess.run(["umount", str(lab.app_root("web5") / ".vesemir")], check=False, timeout=20, capture_output=True)


def make_room(lab: Lab, sites: Sites, event: Event) -> Event:
    """step.failed: "what the output says: disk full"; it failed in prepare, so its server has its traffic."""
    unmount(lab)
    return again(lab, sites, event)


def that_stops_the_application(lab: Lab, sites: Sites) -> Event:
    del sites
    return lab.script('"$BOX_ROOT/bin/systemctl" stop shop', "web3", haproxy=lab.haproxy_part)


def start_shop(lab: Lab) -> None:
    subprocess.run([lab.root("web3") / "bin" / "systemctl", "start", "shop"], check=True, timeout=60)


def start_the_application(lab: Lab, sites: Sites, event: Event) -> Event:
    """haproxy.not_up: "usually the application"; then the server that is left drained."""
    start_shop(lab)
    set_ready(lab, event, "web3")
    return again(lab, sites, event) | {"parameters": {"script": "true"}}


def that_does_not_start(lab: Lab, sites: Sites) -> Event:
    """Its last words are in the failure: those of other tests are not to be among them."""
    del sites
    (lab.root("web1") / "log" / "shop").write_bytes(b"")
    event = lab.event("3.0.0-broken", targets={"hosts": ["web1", "web2"]}, application="shop-canary")
    return event | {"recipe": HASTY, "rollout": {"canary": 1}}


def deploy_the_previous_version(lab: Lab, sites: Sites, event: Event) -> Event:
    """health.failed: "a broken release: deploy the previous version"; the drained server is set ready after it."""
    del sites
    good = lab.event("2.0.0", targets={"hosts": ["web1", "web2"]}, application=event["application"])
    return good | {"deployment_id": f"{event['deployment_id']}-again"}


def release(**parameters: str) -> Callable[[Lab, Sites], Event]:
    def make(lab: Lab, sites: Sites) -> Event:
        del sites
        event = lab.event("2.0.0", targets={"hosts": ["web2"]}, application="shop-artifact")
        del event["haproxy"]
        event["parameters"] |= {name: value.format(lab=lab.folder) for name, value in parameters.items()}
        return event

    return make


def right_artifact(lab: Lab, sites: Sites, event: Event) -> Event:
    """artifact.*: "correct it"."""
    return again(lab, sites, event) | {"parameters": lab.event("2.0.0")["parameters"]}


CASES = {
    "targets.too_few": Case(two_in_a_group_of_one, add_the_missing_host),
    "ssh.unreachable": Case(script("true", "closed"), correct_the_port),
    "ssh.auth_failed": Case(script("true", "stranger"), authorize_the_key),
    "ssh.host_key_mismatch": Case(script("true", "swapped"), pin_the_new_key),
    "step.failed": Case(
        script("echo reading the settings; echo no such database: shop_v2 >&2; exit 3", PLAIN),
        with_changes(parameters={"script": "true"}),
    ),
    "step.failed-sudo": Case(
        lambda lab, _: lab.script("true", "plain") | {"recipe": "needs-sudo", "parameters": {}},
        grant_sudo,
        needs_root=True,
    ),
    "step.failed-disk-full": Case(on_a_full_disk, make_room, needs_root=True),
    "step.timed_out": Case(blocked_by_a_lock, remove_the_lock),
    "target.timed_out": Case(
        script("sleep 60", PLAIN, timeouts={"target": 10}),
        with_changes(timeouts={"target": 60}, parameters={"script": "sleep 0.1"}),
    ),
    "target.unsupported": Case(without_a_state_folder, make_room_for_the_state),
    "haproxy.unknown_server": Case(
        lambda lab, _: lab.script("true", "web2", haproxy={**lab.haproxy_part, "server": "{name}-x"}),
        lambda lab, sites, event: again(lab, sites, event) | {"haproxy": lab.haproxy_part},
    ),
    "haproxy.drain_timed_out": Case(
        lambda lab, _: lab.script("true", HANGING, haproxy={**lab.haproxy_part, "drain_seconds": 1}),
        lambda lab, sites, event: (
            again(lab, sites, event) | {"haproxy": {**lab.haproxy_part, "on_drain_timeout": "shutdown"}}
        ),
    ),
    "haproxy.not_up": Case(that_stops_the_application, start_the_application),
    "health.failed": Case(that_does_not_start, deploy_the_previous_version),
    "deployment.timed_out": Case(
        script('[ "$BOX_NAME" = web2 ] || sleep 60', PLAIN, "web5", timeouts={"deployment": 15}),
        with_changes(timeouts={"deployment": 60}, parameters={"script": "true"}),
    ),
    "artifact.unavailable": Case(release(artifact_url="file://{lab}/artifacts/shop-9.9.9.tar.gz"), right_artifact),
    "artifact.checksum_mismatch": Case(release(artifact_sha256="0" * 64), right_artifact),
}
"""By code; a word after a dash tells two ways to the same code apart."""


def chosen() -> dict[str, Case]:
    """What can be provoked here."""
    return {name: case for name, case in CASES.items() if ROOT or not case.needs_root}
