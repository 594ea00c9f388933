"""The files in /etc/vesemir of one instance."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SETTINGS = """\
instance = "{name}"

[amqp]
url_file = "${{CREDENTIALS_DIRECTORY}}/amqp_url"

[postgres]
dsn_file = "${{CREDENTIALS_DIRECTORY}}/postgres_dsn"

[ssh]
user = "deploy"
client_key = "${{CREDENTIALS_DIRECTORY}}/ssh_key"
known_hosts = "/etc/vesemir/ssh/known_hosts"

[http]
host = "{address}"
port = 8080
leave_seconds = 3
token_file = "${{CREDENTIALS_DIRECTORY}}/http_token"

[inventory]
file = "/etc/vesemir/inventory.yaml"

[inventory.chef]
name = "lab"
url = "{chef_url}"
client_name = "{chef_client}"
client_key = "${{CREDENTIALS_DIRECTORY}}/chef_key"
allowed_networks = {networks}
allowed_variables = ["*"]

[lease]
seconds = 10

[recipes]
folders = ["/etc/vesemir/recipes"]

[artifacts]
roots = ["/srv/artifacts"]
"""


def settings_of(lab: Mapping[str, Any], inventory: Mapping[str, Any], *, name: str, address: str) -> dict[str, str]:
    """Name below /etc/vesemir, to text."""
    chef, recipes = lab["chef"], Path(lab["env"]["VESEMIR_CONFIG"]).parent / "recipes"
    return {
        "vesemir.toml": _SETTINGS.format(
            name=name,
            address=address,
            chef_url=chef["url"],
            chef_client=chef["client_name"],
            networks=lab["env"]["VESEMIR_INVENTORY__CHEF__ALLOWED_NETWORKS"],
        ),
        "inventory.yaml": json.dumps(inventory, indent=1),
        "ssh/known_hosts": Path(lab["known_hosts"]).read_text(),
        "recipes/lab-script.toml": (recipes / "lab-script.toml").read_text(),
    }
