"""What the recipes ``package`` and ``chef-client`` meet: an apt repository, units, and Chef's client.

Each application is a host of its own in the inventory, with its own variables, at the address of a machine of the lab.
The machines have a supervisor of root's with rules for exactly what these recipes run as root (docs/install.md).
"""

import hashlib
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

from vesemir.adapters.recipes import load_recipes
from vesemir.domain.recipe import Script
from vesemir.lab.artifacts import release_files

SUPERVISOR = "/usr/local/lib/vesemir/supervisor.py"
_CHEF = "/usr/local/bin/chef-client"
PACKAGED, COOKED = "packaged", "cooked"
PORTS = {PACKAGED: 9081, COOKED: 9082}
VERSIONS = ("1.0-1", "1.1-1")

_UNIT = """\
[Unit]
Description={name}, an application of the integration environment
[Service]
Type=exec
Environment=APPLICATION={name} BOX_NAME=%H
EnvironmentFile=/etc/default/{name}
ExecStart=/usr/bin/python3 -I -S /usr/lib/{name}/app.py
DynamicUser=yes
Restart=on-failure
[Install]
WantedBy=multi-user.target
"""
_CHEF_CLIENT = '''\
#!/usr/bin/python3 -I
"""Stands in for Chef's client, which Debian 12 does not have: takes the arguments that the recipe gives it, reads the
attribute, and converges: the version's program, then the unit, as a cookbook's resources would."""
import json, subprocess, sys

assert sys.argv[1:5] == ["--no-color", "--run-lock-timeout", "120", "-j"], sys.argv
with open(sys.argv[5]) as file:
    wanted = json.load(file)["cooked"]["version"]
with open("/usr/lib/cooked/VERSION", "w") as file:
    file.write(wanted + "\\n")
subprocess.run(["systemctl", "restart", "cooked"], check=True)
print("Chef Infra Client (stand-in) finished, 2/2 resources updated: cooked", wanted)
'''


def variables_of(application: str, address: str) -> dict[str, str]:
    """A host's inventory variables. The programs are named by their paths, as the supervisor's rules want it."""
    return {
        "health_url": f"http://{address}:{PORTS[application]}/",
        "service": application,
        "systemctl": "/usr/bin/systemctl",
        "chef_client": _CHEF,
        "vesemir_supervisor": SUPERVISOR,
    }


def rules(release: Path) -> str:
    """What of a release's two recipes runs as root: its scripts by their hashes, its commands word for word."""
    (recipes,) = release.glob("lib/python3.*/site-packages/vesemir/_shipped/recipes")
    book = load_recipes([recipes])
    lines = [
        "command /usr/bin/systemctl restart packaged",
        f"command {_CHEF} --no-color --run-lock-timeout 120 -j /var/lib/vesemir/chef-cooked-production.json",
    ]
    for name in ("package", "chef-client"):
        recipe = book.get(name)
        assert recipe is not None
        for step in chain(*recipe.lists.values()):
            if step.sudo and isinstance(step.work, Script):
                digest = hashlib.sha256(step.work.text.encode()).hexdigest()
                lines.append(f"script {digest}  # {name}: {step.name}")
    return "".join(f"{line}\n" for line in lines)


def furnish(root: Path, address: str, release: Path) -> None:
    """A machine's supervisor (from the release), its repository, both applications' settings; nothing is started."""
    program = (release / "share" / "vesemir" / "onhost" / "supervisor.py").read_text()
    _write(root / SUPERVISOR.removeprefix("/"), program, mode=0o755)
    _write(root / "etc" / "vesemir" / "supervisor.rules", rules(release))
    rule = root / "etc" / "sudoers.d" / "vesemir"
    _write(rule, f"deploy ALL=(root) NOPASSWD: {SUPERVISOR}\n", mode=0o440)
    for name, port in PORTS.items():
        _write(root / "etc" / "default" / name, f"ADDRESS={address}\nPORT={port}\n")
    repository(root / "srv" / "apt")
    _write(root / "etc" / "apt" / "sources.list.d" / "local.list", "deb [trusted=yes] file:///srv/apt ./\n")
    _write(root / "usr" / "local" / "bin" / "chef-client", _CHEF_CLIENT, mode=0o755)
    _write(root / "etc" / "systemd" / "system" / "cooked.service", _UNIT.format(name=COOKED))
    for name, (text, mode) in release_files("1.0").items():
        _write(root / "usr" / "lib" / COOKED / name, text, mode=mode)


def repository(folder: Path) -> None:
    """Every version of the package, and the list of them that apt reads (dpkg-deb, apt-ftparchive)."""
    for version in VERSIONS:
        tree = folder / version
        for name, (text, mode) in release_files(version).items():
            _write(tree / "usr" / "lib" / PACKAGED / name, text, mode=mode)
        _write(tree / "lib" / "systemd" / "system" / f"{PACKAGED}.service", _UNIT.format(name=PACKAGED))
        control = {
            "Package": PACKAGED,
            "Version": version,
            "Architecture": "all",
            "Maintainer": "The Vesemir team <nobody@example.com>",
            "Depends": "python3",
            "Description": "an application of the integration environment",
        }
        _write(tree / "DEBIAN" / "control", "".join(f"{key}: {value}\n" for key, value in control.items()))
        words = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(folder / f"{PACKAGED}_{version}_all.deb")]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    listed = subprocess.run(["apt-ftparchive", "packages", "."], cwd=folder, check=True, capture_output=True, text=True)
    (folder / "Packages").write_text(listed.stdout)


def names(application: str, count: int) -> list[str]:
    """The application's hosts in the inventory."""
    return [f"{application}{number}" for number in range(1, count + 1)]


def event(application: str, version: str, *, hosts: list[str]) -> dict[str, Any]:
    """A deploy event for one of the two."""
    recipe, parameters = ("package", {"package": PACKAGED}) if application == PACKAGED else ("chef-client", {})
    return {
        "schema": "vesemir.deploy/1",
        "deployment_id": f"{application}-{version}",
        "application": application,
        "environment": "production",
        "version": version,
        "recipe": recipe,
        "parameters": parameters,
        "targets": {"hosts": hosts},
        "rollout": {"concurrency": 3, "on_failure": "rollback", "min_healthy_seconds": 0},
    }


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
