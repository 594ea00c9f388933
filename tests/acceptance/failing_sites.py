"""Hosts on which a deployment cannot work, beside the lab's boxes, and what a daemon needs to know of them."""

import json
import os
import shutil
import socket
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.installed_lab import Lab
from tests.integration.ssh_server import DEPLOY, Sshd, sshd_running

NEEDS_SUDO = """
description = "Needs root"
[[steps]]
name = "as-root"
command = ["id", "-u"]
sudo = true
"""
HOST = '\n[hosts.{name}]\naddress = "{address}"\nport = {port}\nuser = "{user}"\n'
VARIABLES = '[hosts.{name}.variables]\nvesemir_state_dir = "{state}"\nroot = "{state}"\n'


@dataclass(frozen=True)
class Sites:
    """``settings`` are the daemon's; the hosts are ``closed``, ``stranger``, ``swapped`` and, for root, ``plain``."""

    settings: dict[str, str]
    closed_port: int
    folder: Path


@contextmanager
def failing_sites(lab: Lab, folder: Path) -> Iterator[Sites]:
    """``closed``: nobody listens; ``stranger``: knows not our key; ``swapped``: web6 with another host key;
    ``plain``: an ordinary user without the right to sudo.
    """
    with ExitStack() as stack:
        reserved = stack.enter_context(socket.socket())
        reserved.bind(("127.0.0.1", 0))  # bound and never listening: nobody else takes the port meanwhile
        closed = reserved.getsockname()[1]
        stranger = stack.enter_context(sshd_running(folder / "stranger"))
        web6 = lab.box("web6")
        hosts = [
            HOST.format(name="closed", address="127.0.0.1", port=closed, user=stranger.user),
            VARIABLES.format(name="closed", state=folder),
            _host("stranger", stranger),
            HOST.format(name="swapped", address=web6["address"], port=web6["port"], user=web6["user"]),
            VARIABLES.format(name="swapped", state=folder),
        ]
        pinned = [stranger.known_hosts.read_text(), *_with_another_key(lab, web6, stranger)]
        if os.geteuid() == 0:
            plain = stack.enter_context(sshd_running(folder / "plain", user=DEPLOY))
            shutil.copy(f"{lab['client_key']}.pub", plain.folder / "authorized_keys")
            hosts.append(_host("plain", plain))
            pinned.append(plain.known_hosts.read_text())
        inventory, known, recipes = folder / "inventory.toml", folder / "known_hosts", folder / "recipes"
        inventory.write_text(Path(lab["env"]["VESEMIR_INVENTORY__FILE"]).read_text() + "".join(hosts))
        known.write_text("".join(pinned))
        recipes.mkdir()
        (recipes / "needs-sudo.toml").write_text(NEEDS_SUDO)
        yield Sites(
            {
                "VESEMIR_INVENTORY__FILE": str(inventory),
                "VESEMIR_SSH__KNOWN_HOSTS": str(known),
                "VESEMIR_RECIPES__FOLDERS": json.dumps([*_setting(lab, "recipes", "folders"), str(recipes)]),
            },
            closed,
            folder,
        )


def _host(name: str, server: Sshd) -> str:
    return HOST.format(name=name, address="127.0.0.1", port=server.port, user=server.user) + VARIABLES.format(
        name=name, state=server.state
    )


def _with_another_key(lab: Lab, box: dict[str, str], other: Sshd) -> list[str]:
    """The lab's pinned keys, but for one box that of somebody else."""
    place = f"[{box['address']}]:{box['port']}"
    wrong = other.known_hosts.read_text().split(maxsplit=1)[1]
    lines = Path(lab["known_hosts"]).read_text().splitlines(keepends=True)
    return [f"{place} {wrong}" if line.startswith(f"{place} ") else line for line in lines]


def _setting(lab: Lab, section: str, name: str) -> list[str]:
    """One of the lab's own settings, to be added to."""
    found: list[str] = tomllib.loads(Path(lab["env"]["VESEMIR_CONFIG"]).read_text())[section][name]
    return found
