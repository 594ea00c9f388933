"""The integration environment: production's topology on machines that boot a systemd, with Vesemir from an artifact.

Three instances on machines of their own behind a HAProxy of their own; the lab's RabbitMQ, PostgreSQL and Chef server;
three machines of an application behind its HAProxy. What an administrator does once per host is done here as
docs/install.md says; everything after that goes through deploy events.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration_env import hosts
from tests.integration_env.artifacts import REPOSITORY, Artifact
from tests.integration_env.configuring import settings_of

from vesemir.lab.event import deploy_event
from vesemir.lab.places import Places

INSTANCES = 3
HTTP_PORT = 8080
_VESEMIR = (sys.executable, "-m", "vesemir.cli.lab")
_CREDENTIALS = ("ssh_key", "amqp_url", "postgres_dsn", "http_token")
_READY_SECONDS = 120.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of the lab; ``root`` is its tree as seen from here."""

    name: str
    address: str
    root: Path

    @property
    def health_url(self) -> str:
        return f"http://{self.address}:{HTTP_PORT}/health"


@dataclass(frozen=True)
class Site:
    """Everything that is up."""

    folder: Path
    lab: Mapping[str, Any]
    artifacts: Sequence[Artifact]
    operator: Path
    """The installed command, from the candidate."""
    instances: Sequence[Machine]
    balancer: Machine
    """HAProxy in front of the instances."""
    boxes: Sequence[Machine]
    notes: list[str] = field(default_factory=list)

    @property
    def health_url(self) -> str:
        """The instances' health, through their HAProxy."""
        return self.balancer.health_url

    @property
    def environment(self) -> Mapping[str, str]:
        return {**self.lab["env"], "PATH": "/usr/bin:/bin", "NO_COLOR": "1", "LANG": "C.UTF-8"}

    def on(self, machine: Machine, *words: str, fails: bool = False) -> str:
        """Run a command as root on a machine; what it printed."""
        done = subprocess.run(
            [*_VESEMIR, "exec", "--dir", str(self.folder), machine.name, *words],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0 and not fails:
            raise AssertionError(f"{' '.join(words)} on {machine.name} ended with {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    async def command(self, *words: str) -> tuple[int, str, str]:
        """``vesemir WORDS`` as an operator types it: exit status, output, errors."""
        child = await asyncio.create_subprocess_exec(
            str(self.operator), *words, env=self.environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        printed, errors = await child.communicate()
        return await child.wait(), printed.decode(), errors.decode()

    def main_pid(self, machine: Machine) -> str:
        return self.on(machine, "systemctl", "show", "--value", "--property", "MainPID", "vesemir")

    def event(self, version: str, *, recipe: str = "release", given: Sequence[str] = (), chef: bool = False) -> Json:
        """A deploy event of the lab's application, as ``vesemir lab event`` prints it."""
        places = Places.of(self.folder, token="")
        found = deploy_event(places, self.lab, version=version, recipe=recipe, given=given, chef=chef)
        if "artifact_url" in found["parameters"]:  # where the instances have it
            name = found["parameters"]["artifact_url"].rpartition("/")[2]
            found["parameters"]["artifact_url"] = f"file:///srv/artifacts/{name}"
        return found

    def upgrade(self, artifact: Artifact, name: str, instances: Sequence[Machine] = ()) -> Json:
        """The event that brings a version to all instances, as docs/self-deployment.md has it."""
        targets = {"hosts": [each.name for each in instances]} if instances else {"inventory": {"groups": ["vesemir"]}}
        return {
            "schema": "vesemir.deploy/1",
            "deployment_id": name,
            "application": "vesemir",
            "environment": "production",
            "requested_by": "integration environment",
            "version": artifact.version,
            "recipe": "vesemir",
            "parameters": {
                "artifact_url": f"file:///srv/artifacts/{artifact.path.name}",
                "artifact_sha256": artifact.sha256,
            },
            "targets": targets,
            "haproxy": {
                "targets": {"inventory": {"groups": ["vesemir-lb"]}},
                "backend": "vesemir",
                "server": "{name}",
                "drain_seconds": 10,
            },
            "rollout": {
                "concurrency": 1,
                "canary": 1,
                "min_available": 1,
                "on_failure": "rollback",
                "min_healthy_seconds": 0,
            },
        }


def page(url: str) -> tuple[int, Json]:
    """Status and JSON of a page; status 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            return error.code, json.load(error)
        except ValueError:
            return error.code, {}
    except (OSError, ValueError):
        return 0, {}


async def until(condition: Callable[[], bool], what: str, *, seconds: float = _READY_SECONDS) -> None:
    """Ask again and again, in a thread; raises when it does not come true."""
    try:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds:.0f} s") from None


@contextmanager
def site_up(folder: Path, artifacts: Sequence[Artifact], *, candidate: Artifact) -> Iterator[Site]:
    """The lab, and the machines prepared; nothing of Vesemir runs yet. All of it is taken down at the end."""
    lab_folder = folder / "lab"
    words = ["--systemd", "--chef", "--boxes", "3", "--bare", str(INSTANCES + 1), "--detach", "--json"]
    try:
        up = subprocess.run(
            [*_VESEMIR, "up", "--dir", str(lab_folder), *words], stdout=subprocess.PIPE, text=True, check=False
        )
        if up.returncode != 0:
            raise SystemExit("the lab does not come up; it says why above")
        lab = json.loads(up.stdout)
        bare = [_machine(each) for each in lab["bare"]]
        site = Site(
            lab_folder, lab, artifacts, _install_operator(folder, candidate), bare[:-1], bare[-1],
            [_machine(each) for each in lab["boxes"]],
        )  # fmt: skip
        _balance(site)
        for instance in site.instances:
            _prepare(site, instance)
        for box in site.boxes:
            hosts.furnish(box.root, box.address, site.operator.parent.parent.resolve())
        yield site
    finally:
        subprocess.run([*_VESEMIR, "down", "--dir", str(lab_folder)], stderr=subprocess.DEVNULL, check=False)


def _machine(box: Mapping[str, Any]) -> Machine:
    return Machine(box["name"], box["address"], Path(box["root"]))


def _install_operator(folder: Path, candidate: Artifact) -> Path:
    """The candidate's commands, as on an operator's own host."""
    unpacked, prefix = folder / "unpacked", folder / "operator"
    for left in (unpacked, prefix):  # of an earlier run with --keep
        shutil.rmtree(left, ignore_errors=True)
    shutil.unpack_archive(candidate.path, unpacked, filter="data")
    words = [unpacked / f"vesemir-{candidate.version}" / "install", "--prefix", prefix, "--switch"]
    subprocess.run(["/usr/bin/python3", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return prefix / "current" / "bin" / "vesemir"


def _balance(site: Site) -> None:
    """HAProxy in front of the instances, by the shipped configuration with this site's addresses."""
    shipped = REPOSITORY / "config" / "haproxy"
    text = (shipped / "haproxy.cfg").read_text().partition("\nfrontend ")[0] + "\n"
    text += (shipped / "vesemir.cfg").read_text()
    lines: list[str] = []
    servers = [f"    server {each.name} {each.address}:{HTTP_PORT}" for each in site.instances]
    for line in text.splitlines():
        match line.split()[:1]:
            case ["bind"]:
                lines.append(f"    bind {site.balancer.address}:{HTTP_PORT}")
            case ["server"]:
                lines += servers
                servers = []
            case _:
                lines.append(line)
    (site.balancer.root / "etc" / "haproxy" / "haproxy.cfg").write_text("\n".join(lines) + "\n")
    site.on(site.balancer, "usermod", "--append", "--groups", "haproxy", "deploy")
    site.on(site.balancer, "systemctl", "start", "haproxy")


def _prepare(site: Site, instance: Machine) -> None:
    """What is done once per host: user, folders, settings, credentials, sudo rule, unit."""
    etc = instance.root / "etc"
    first = site.artifacts[0]
    shared = instance.root / "srv" / "artifacts"
    shared.mkdir()
    for each in (*(artifact.path for artifact in site.artifacts), *(site.folder / "artifacts").glob("*.tar.gz")):
        shutil.copy(each, shared)
    shutil.unpack_archive(first.path, instance.root / "srv", filter="data")
    unpacked = instance.root / "srv" / f"vesemir-{first.version}"
    for kind in ("sysusers.d", "tmpfiles.d"):
        for file in (unpacked / "share" / "systemd" / kind).iterdir():
            shutil.copy(file, instance.root / "usr" / "lib" / kind)
    shutil.copy(unpacked / "share" / "systemd" / "vesemir.service", etc / "systemd" / "system")
    site.on(instance, "systemd-sysusers")
    site.on(instance, "systemd-tmpfiles", "--create")
    site.on(instance, "install", "-d", "-o", "deploy", "-g", "deploy", "/opt/vesemir")
    for name, text in settings_of(site.lab, inventory_of(site), name=instance.name, address=instance.address).items():
        (etc / "vesemir" / name).write_text(text)
    _credentials(site, etc)
    rule = etc / "sudoers.d" / "vesemir"
    shown = "/usr/bin/systemctl reset-failed vesemir, /usr/bin/systemctl --no-block restart vesemir"
    rule.write_text(f"deploy ALL=(root) NOPASSWD: {shown}\n")
    rule.chmod(0o440)


def _credentials(site: Site, etc: Path) -> None:
    folder = etc / "vesemir" / "credentials"
    values = {
        "ssh_key": Path(site.lab["client_key"]).read_text(),
        "amqp_url": site.lab["amqp_url"],
        "postgres_dsn": site.lab["postgres_dsn"],
        "http_token": "integration-environment",
        "chef_key": Path(site.lab["chef"]["client_key"]).read_text(),
    }
    for name, value in values.items():
        (folder / name).write_text(value)
        (folder / name).chmod(0o600)
    more = etc / "systemd" / "system" / "vesemir.service.d"
    more.mkdir()
    (more / "chef.conf").write_text("[Service]\nLoadCredential=chef_key:/etc/vesemir/credentials/chef_key\n")


def inventory_of(site: Site) -> Json:
    """The lab's inventory and the instances' own groups and variables, in the form that YAML shares with JSON."""
    found = tomllib.loads((site.folder / "inventory.toml").read_text())
    found["groups"]["vesemir"] = {"hosts": [each.name for each in site.instances]}
    found["groups"]["vesemir-lb"] = {"hosts": [site.balancer.name]}
    for each in site.instances:
        found["hosts"][each.name]["variables"]["health_url"] = each.health_url
    for application in hosts.PORTS:
        for name, box in zip(hosts.names(application, len(site.boxes)), site.boxes, strict=True):
            own = found["hosts"][box.name]
            found["hosts"][name] = {**own, "variables": hosts.variables_of(application, box.address)}
    found["hosts"][site.balancer.name]["variables"]["haproxy_socket"] = "/run/haproxy/admin.sock"
    return found
