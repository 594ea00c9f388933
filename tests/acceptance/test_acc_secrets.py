"""Nothing secret in logs, database, events, process list, remote files.

A canary is planted in every place where a secret can be configured or given; deployments succeed and fail in many ways
with the log at its most talkative; then everything that was written is searched. What is searched is shown to hold an
ordinary value, so that an empty place is not taken for a clean one.

    python -m pytest tests/acceptance/test_acc_secrets.py -s
"""

import base64
import hashlib
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.acceptance.canaries import Everywhere, canary, plain_canary, process_list
from tests.acceptance.installed_lab import COMMAND, Event, Lab, own_environment
from tests.acceptance.pika_requester import CONTROL, Requester
from tests.acceptance.running_daemon import Daemon, running

pytestmark = [pytest.mark.lab, pytest.mark.timeout(480)]

RECIPE = r'''
description = "Uses its secret in every way, and prints it in every way."

[parameters.password]
required = true
secret = true

[parameters.mode]
default = "succeed"

[parameters.mark]
required = true

[parameters.url]
default = "http://127.0.0.1:9/"

[parameters.standing]
default = "{standing}"
secret = true

[parameters.private_key]
default = "none"
secret = true

[variables.root]
required = true

[[steps]]
name = "print"
environment = {{ API_TOKEN = "{token}", PROXY = "http://proxy:{proxy}@127.0.0.1:3128/", ROOT = "{{root}}" }}
script = """
echo "plain: $PARAM_PASSWORD $PARAM_MARK $API_TOKEN $PROXY $PARAM_STANDING"
echo "error: $PARAM_PASSWORD" >&2
printf '%s' "$PARAM_PASSWORD" | base64 -w0; echo
printf '%s' "$PARAM_PRIVATE_KEY"; echo
env | sort
set -x
: "$PARAM_PASSWORD"
set +x
echo "$PARAM_MARK" > "$ROOT/mark-$PARAM_MARK"
sleep 0.3
case "$PARAM_MODE" in
flood) yes "$PARAM_PASSWORD" | head -c 700000;;
fail) echo "cannot log in with $PARAM_PASSWORD"; exit 3;;
hang) echo "waiting with $PARAM_PASSWORD"; sleep 60;;
esac
"""

[[steps]]
name = "get"
fetch = {{ url = "{{url}}", sha256 = "{digest}", destination = "{{root}}/fetched" }}

[[steps]]
name = "put"
put = {{ content = "{{mark}}", destination = "{{root}}/put" }}

[[steps]]
name = "ask"
check = {{ http = "http://127.0.0.1:9/?key={{password}}", deadline = 1, interval = 0.2 }}
'''
ARTIFACT = b"an artifact\n"


class Site(BaseHTTPRequestHandler):
    """Gives the artifact to who shows the password of the address."""

    login = ""

    def do_GET(self) -> None:
        wanted = "Basic " + base64.b64encode(self.login.encode()).decode()
        right = self.headers.get("Authorization") == wanted and self.path == "/artifact"
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(ARTIFACT) if right else 0))
        self.end_headers()
        if right:
            self.wfile.write(ARTIFACT)

    def log_message(self, *_: Any) -> None:
        """Not a word."""


@dataclass
class Planted:
    """The secrets by name, and the settings of a daemon that has them."""

    hidden: dict[str, str]
    settings: dict[str, str]
    site: str
    key: str
    mark: str = field(default_factory=lambda: plain_canary("mark"))

    def url(self, path: str = "/artifact") -> str:
        return self.site.replace("//", f"//me:{quote(self.hidden['address'], safe='')}@", 1) + path


@pytest.fixture
def planted(lab: Lab, tmp_path: Path) -> Iterator[Planted]:
    hidden = {
        name: canary(name)
        for name in ("parameter", "default", "token", "proxy", "address", "reason", "requested_by", "refused")
    }
    hidden |= {name: plain_canary(name) for name in ("http-token", "wrong-token", "dsn", "wrong-broker", "inventory")}
    hidden["record-key"] = plain_canary("record-key")
    hidden["broker"] = str(urlsplit(lab["amqp_url"]).password)
    pem = _rsa_key()
    hidden |= {"ssh-key": _middle(Path(lab["client_key"]).read_text()), "chef-key": _middle(pem)}
    step_key = _rsa_key()
    hidden["printed-key"] = _middle(step_key)
    Site.login = f"me:{hidden['address']}"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        settings = _settings(lab, tmp_path, hidden, pem)
        yield Planted(hidden, settings, f"http://127.0.0.1:{server.server_port}", step_key)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _rsa_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()


def _middle(pem: str) -> str:
    """A line of a key that no other key has."""
    return pem.splitlines()[3]


def _settings(lab: Lab, folder: Path, hidden: Mapping[str, str], chef_key: str) -> dict[str, str]:
    own = tomllib.loads(Path(lab["env"]["VESEMIR_CONFIG"]).read_text())
    recipes, inventory = folder / "recipes", folder / "inventory.toml"
    recipes.mkdir()
    (recipes / "canary.toml").write_text(_recipe(hidden))
    passwords = f'\n[all.variables]\nansible_password = "{hidden["inventory"]}"\n'
    inventory.write_text(Path(lab["env"]["VESEMIR_INVENTORY__FILE"]).read_text() + passwords)
    files = {
        "VESEMIR_AMQP__URL_FILE": lab["amqp_url"],
        "VESEMIR_POSTGRES__DSN_FILE": _with_password(lab["postgres_dsn"], hidden["dsn"]),
        "VESEMIR_HTTP__TOKEN_FILE": hidden["http-token"],
        "VESEMIR_SECRETS__KEY_FILE": f"{hidden['record-key']}\n",
        "VESEMIR_INVENTORY__CHEF__CLIENT_KEY": chef_key,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return {
        **{name: str(folder / name) for name in files},
        "VESEMIR_INVENTORY__CHEF__URL": "http://127.0.0.1:9/organizations/nobody",
        "VESEMIR_INVENTORY__CHEF__CLIENT_NAME": "vesemir",
        "VESEMIR_INVENTORY__CHEF__TIMEOUT_SECONDS": "1",
        "VESEMIR_INVENTORY__CHEF__ATTEMPTS": "1",
        "VESEMIR_INVENTORY__FILE": str(inventory),
        "VESEMIR_RECIPES__FOLDERS": json.dumps([*own["recipes"]["folders"], str(recipes)]),
        "VESEMIR_LOG__LEVEL": "TRACE",
        "VESEMIR_LEASE__SECONDS": "60",  # a takeover on a busy machine would lose outputs that are to be searched
    }


def _recipe(hidden: Mapping[str, str]) -> str:
    def text(name: str) -> str:
        return json.dumps(hidden[name], ensure_ascii=False)[1:-1].replace("{", "{{{{").replace("}", "}}}}")

    digest = hashlib.sha256(ARTIFACT).hexdigest()
    proxy = quote(hidden["proxy"], safe="")
    return RECIPE.format(standing=text("default"), token=text("token"), proxy=proxy, digest=digest)


def _with_password(dsn: str, password: str) -> str:
    """The lab's database trusts its own machine and asks for none; a client shows it all the same."""
    return f"{dsn}{'&' if '?' in dsn else '?'}password={password}"


def _deployment(lab: Lab, planted: Planted, *boxes: str, **parameters: str) -> Event:
    event = lab.script("true", *boxes)
    given = {"password": planted.hidden["parameter"], "mark": planted.mark, "url": planted.url()}
    given |= {"private_key": planted.key}
    who = f"somebody at amqp://me:{quote(planted.hidden['requested_by'], safe='')}@host/"
    return event | {"recipe": "canary", "parameters": given | parameters, "requested_by": who}


def _deployments(lab: Lab, planted: Planted) -> dict[str, Event]:
    """One per way to end."""
    chef = {"targets": {"chef": {"tags": ["shop-web"]}}}
    traffic = {"haproxy": lab.haproxy_part, "timeouts": {"step": 2}}
    return {
        "succeeds but for its check": _deployment(lab, planted, "web1", "web2"),
        "prints very much": _deployment(lab, planted, "web1", mode="flood"),
        "fails in its step": _deployment(lab, planted, "web3", mode="fail"),
        "hangs": _deployment(lab, planted, "web4", mode="hang") | traffic,
        "wrong password for the artifact": _deployment(
            lab, planted, "web5", url=planted.url().replace("me:", "you:", 1)
        ),
        "no such artifact": _deployment(lab, planted, "web6", url=planted.url("/none")),
        "nobody gives the artifact": _deployment(
            lab, planted, "web6", url=f"http://me:{quote(planted.hidden['address'], safe='')}@127.0.0.1:9/a"
        ),
        "an address that is none": _deployment(
            lab, planted, "web2", url=f"gopher://me:{quote(planted.hidden['address'], safe='')}@127.0.0.1:9/a"
        ),
        "the inventory is away": _deployment(lab, planted) | chef,
        "a dry run": _deployment(lab, planted, "web1") | {"dry_run": True},
    }


def _run(planted: Planted, lab: Lab, *words: str) -> str:
    """What a command prints, both ways, whatever its exit status."""
    done = subprocess.run(
        [COMMAND, *words],
        env=own_environment(lab["env"] | planted.settings),
        capture_output=True,
        timeout=120,
        check=False,
    )
    return f"$ vesemir {shlex.join(words)}\n{done.stdout.decode()}{done.stderr.decode()}"


def _ask(daemon: Daemon, path: str, token: str) -> bytes:
    answer = subprocess.run(
        ["curl", "-sS", "-i", "-m", "20", "-K", "-", f"{daemon.url}{path}"],
        input=f'header = "Authorization: Bearer {token}"\n'.encode(),
        capture_output=True,
        check=True,
    )
    return answer.stdout


@pytest.mark.usefixtures("mended")
def test_nothing_secret_is_written_anywhere(lab: Lab, planted: Planted, requester: Requester, tmp_path: Path) -> None:
    hidden, seen = planted.hidden, Everywhere()
    events = _deployments(lab, planted)
    wrong = {"VESEMIR_AMQP__URL": f"amqp://nobody:{hidden['wrong-broker']}@{lab['amqp_url'].rpartition('@')[2]}"}
    with process_list() as processes:
        with running(lab, tmp_path, "locked-out", wrong | {"VESEMIR_LOG__LEVEL": "TRACE"}, healthy=False) as out:
            out.wait_until_unhealthy("broker")
        with running(lab, tmp_path, "planted", planted.settings) as daemon:
            requester.watch()
            for event in events.values():
                requester.publish(event)
            _refusals(lab, planted, requester)
            results = {what: requester.finished(event["deployment_id"]) for what, event in events.items()}
            _cancel(lab, planted, requester)
            _read_it_all(lab, planted, daemon, events, seen)
    codes = {what: (result["failure"] or {}).get("code") for what, result in results.items()}
    assert codes["the inventory is away"] == "targets.inventory_unreachable"
    assert codes["a dry run"] is None
    reached = {what: result["targets"][0]["failure"] for what, result in results.items() if result["targets"]}
    last = reached["succeeds but for its check"]  # its check comes after the artifact was fetched with the password
    assert last["code"] == "health.failed", last
    assert reached["fails in its step"]["message"].endswith("cannot log in with •••")
    assert {reached[what]["code"] for what in ("wrong password for the artifact", "no such artifact")} == {
        "artifact.unavailable"
    }

    seen.add("process list", b"\n".join(processes))
    for received in (*requester.replies, *requester.watched):
        place = "events on the exchange" if received in requester.watched else "replies"
        seen.add(place, f"{received.body} {received.properties} {received.routing_key}\n")
        seen.add(place, json.dumps(received.body, ensure_ascii=False))
    for log in tmp_path.glob("*.log"):
        seen.add(f"log of {log.name.rpartition('-')[0]}", log.read_bytes())
    seen.add_database(lab["postgres_dsn"])
    for box in lab["boxes"]:
        seen.add_files(f"files on {box['name']}", Path(box["root"]))
    seen.add_files("the servers' logs", lab.folder / "log")
    print(f"\n{seen.table(hidden)}")  # noqa: T201 -- what was looked at, for who runs this alone
    assert seen.look(hidden) == []
    _not_empty(seen, planted)


def _refusals(lab: Lab, planted: Planted, requester: Requester) -> None:
    """Events that are refused; what lies in vesemir.rejected is the contract's to be a copy, and is taken away."""
    secret = planted.hidden["refused"]
    shapes: list[Event | bytes] = [
        _deployment(lab, planted, "web1", password=secret) | {"unknown": secret},
        _deployment(lab, planted, "web1", password=secret, mode=secret, none=secret),
        _deployment(lab, planted, "web1", password=secret) | {"recipe": "none"},
        _deployment(lab, planted, "web1", password=secret + "\0"),
        json.dumps(_deployment(lab, planted, "web1", password=secret)).encode()[:-1],
    ]
    for shape in shapes:
        correlation_id = requester.publish(shape)
        assert requester.answer(correlation_id).event == "deployment.rejected"
    requester.purge_rejected()


def _cancel(lab: Lab, planted: Planted, requester: Requester) -> None:
    event = _deployment(lab, planted, "web5", mode="hang")
    requester.publish(event)
    requester.event(event["deployment_id"], "target.started")
    reason = f"see https://me:{quote(planted.hidden['reason'], safe='')}@wiki/why"
    message = {
        "schema": "vesemir.control/1",
        "command": "cancel",
        "deployment_id": event["deployment_id"],
        "requested_by": reason,
        "reason": reason,
    }
    requester.answer(requester.publish(message, queue=CONTROL))
    assert requester.finished(event["deployment_id"])["status"] == "cancelled"


def _read_it_all(lab: Lab, planted: Planted, daemon: Daemon, events: Mapping[str, Event], seen: Everywhere) -> None:
    """Whatever can be asked for."""
    token = planted.hidden["http-token"]
    paths = ["/health", "/health/live", "/metrics", "/api/v1/deployments?limit=200", "/api/v1/nothing"]
    for event in events.values():
        own = f"/api/v1/deployments/{event['deployment_id']}"
        paths += [own, f"{own}/events"]
    for path in paths:
        name = re.sub(r"acc-[0-9a-f]+", "ID", path.partition("?")[0])
        seen.add(f"GET {name}", _ask(daemon, path, token))
    refused = _ask(daemon, "/api/v1/deployments", planted.hidden["wrong-token"])
    assert b"401 Unauthorized" in refused
    seen.add("GET with a wrong token", refused)
    for event in (events["prints very much"], events["fails in its step"]):  # a command takes most of a second
        for words in (("status",), ("status", "--json"), ("logs",), ("logs", "--json"), ("logs", "--follow")):
            seen.add(f"vesemir {' '.join(words)}", _run(planted, lab, words[0], event["deployment_id"], *words[1:]))
    for words in (("check",), ("history", "--json"), ("history",), ("status",), ("stats",)):
        seen.add(f"vesemir {' '.join(words)}", _run(planted, lab, *words))


def _not_empty(seen: Everywhere, planted: Planted) -> None:
    """The ordinary value beside the secrets is in every place where it belongs."""
    mark = planted.mark.encode()
    places = ["replies", "events on the exchange", "table step", "table event", "table deployment", "vesemir logs"]
    places += ["vesemir logs --json", "vesemir logs --follow", "vesemir status --json", "GET /api/v1/deployments/ID"]
    places += ["files on web1"]
    assert [place for place in places if mark not in seen.written[place]] == []
    assert b"run" in seen.written["process list"]
    assert b'"target": "web1"' in seen.written["log of planted"]
    assert "•••".encode() in seen.written["table step"]
