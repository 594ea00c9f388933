"""``python -m tests.unprepared.seconds_out COMMAND…``: for how long a target has no traffic, with a big artifact.

Each COMMAND is the ``vesemir`` of an installation, for instance that of the release before in a clone of its own. Each
gets a lab of its own, one after the other, and deploys the same artifact with the recipe ``release``, one target at a
time. A row for each: the seconds from the begin of the drain to the end of ``enable`` of each target, by its events.
"""

import argparse
import datetime as dt
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.acceptance.installed_lab import own_environment
from tests.acceptance.patience import until
from tests.acceptance.web import get

from vesemir.lab.artifacts import release_files

SECONDS = 500
MEGABYTE = 1_000_000
COLUMNS = ("installation", "seconds out of traffic, by target", "median", "steps while out", "seconds of it all")


def main() -> int:
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="vesemir-seconds-") as name:
        folder = Path(name)
        artifact = _artifact(folder / "big.tar.gz", asked.megabytes)
        print(f"{asked.boxes} targets, an artifact of {Path(artifact[0]).stat().st_size / MEGABYTE:.0f} MB\n")
        print(_line(COLUMNS), _line(["---"] * len(COLUMNS)), sep="\n", flush=True)
        for command in asked.commands:
            print(_line(_Installation(command, folder).measure(artifact, asked.boxes)), flush=True)
    return 0


@dataclass(frozen=True)
class _Installation:
    command: str
    folder: Path

    def measure(self, artifact: tuple[str, str], boxes: int) -> tuple[object, ...]:
        """Its row."""
        place = self.folder / "lab"
        with ExitStack() as stack:
            stack.callback(self.run, "lab", "down", "--dir", str(place))
            self.run("lab", "up", "--dir", str(place), "--boxes", str(boxes), "--detach")
            lab = json.loads((place / "lab.json").read_text())
            environment = lab["env"] | {"VESEMIR_ARTIFACTS__ROOTS": json.dumps([str(self.folder)])}
            url = self._start(stack, environment)
            event = json.loads(self.run("lab", "event", "--dir", str(place)))
            event["parameters"] = {"artifact_url": Path(artifact[0]).as_uri(), "artifact_sha256": artifact[1]}
            file = self.folder / "event.json"
            file.write_text(json.dumps(event))
            self.run("deploy", "--file", str(file), "--follow", "--json", env=lab["env"])
            events = get(f"{url}/api/v1/deployments/{event['deployment_id']}/events?limit=1000")[1]
        out, steps, total = _out_of_traffic(events["events"] if isinstance(events, dict) else events)
        return (
            self.command,
            ", ".join(f"{each:.1f}" for each in out),
            f"{median(out):.1f}",
            " ".join(steps),
            f"{total:.1f}",
        )

    def _start(self, stack: ExitStack, environment: dict[str, str]) -> str:
        """An instance, which is healthy; its URL."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        own = {"VESEMIR_INSTANCE": "seconds", "VESEMIR_HTTP__PORT": str(port)}
        log = stack.enter_context((self.folder / "daemon.log").open("wb"))
        daemon = stack.enter_context(
            subprocess.Popen([self.command, "run"], env=own_environment(environment | own), stdout=log, stderr=log)
        )
        stack.callback(daemon.terminate)

        def healthy() -> bool:
            try:
                return get(f"http://127.0.0.1:{port}/health")[0] == 200
            except OSError:
                return False

        until(healthy, what="the instance is healthy")
        return f"http://127.0.0.1:{port}"

    def run(self, *words: str, env: dict[str, str] | None = None) -> str:
        """Standard output of a command that must succeed."""
        done = subprocess.run(
            [self.command, *words], env=own_environment(env or {}), capture_output=True, text=True,
            timeout=SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{self.command} {' '.join(words)}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        return done.stdout


def _out_of_traffic(events: Sequence[dict[str, Any]]) -> tuple[list[float], list[str], float]:
    """By target, the steps between drain and enable, and the seconds of the whole deployment."""
    finished = [event for event in events if event["event"] == "step.finished"]
    ended = {(event["target"], event["step"]): _moment(event) for event in finished}
    drain = [event for event in finished if event["step"] == "drain"]
    out = [ended[event["target"], "enable"] - _moment(event) + event["duration_seconds"] for event in drain]
    first = [event["step"] for event in finished if event["target"] == drain[0]["target"]]
    return out, first[first.index("drain") :], _moment(events[-1]) - _moment(events[0])


def _moment(event: dict[str, Any]) -> float:
    return dt.datetime.fromisoformat(event["occurred_at"]).timestamp()


def _artifact(archive: Path, megabytes: int) -> tuple[str, str]:
    """The lab's 2.0.0 with a file of random bytes beside it; path and checksum."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as made:
        for name, (text, mode) in release_files("2.0.0").items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), mode
            made.addfile(member, io.BytesIO(text.encode()))
        member = tarfile.TarInfo("assets.bin")
        member.size = megabytes * MEGABYTE
        made.addfile(member, io.BytesIO(os.urandom(member.size)))
    with archive.open("rb") as stream:
        return str(archive), hashlib.file_digest(stream, "sha256").hexdigest()


def _line(words: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, words))} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.unprepared.seconds_out", description=__doc__)
    parser.add_argument("commands", nargs="+", metavar="COMMAND", help="vesemir of each installation")
    parser.add_argument("--boxes", type=int, default=3, help="targets (3)")
    parser.add_argument("--megabytes", type=int, default=200, help="size of the artifact (200)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
