"""``python -m tests.unprepared [matrix] [scenes]``: what must not cost any traffic, on real servers under load.

``matrix``: each reason for which a release cannot be prepared, at three concurrencies, with ``prepare`` ``target`` and
``all``, and the corrected deployment after it. ``scenes``: a release that does not start and the one that heals it, the
last server, all servers stopped, and a dependency of all that is away in a pause. Exit status 0 only if no request
failed and all that was promised held. Root only: full disks are mounts of a namespace of its own. About six minutes.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.acceptance.installed_lab import Lab, vesemir
from tests.acceptance.running_daemon import running
from tests.integration.ssh_server import in_private_namespace
from tests.rollouts.load import load
from tests.unprepared.causes import CAUSES
from tests.unprepared.dependent import Dependency
from tests.unprepared.matrix import COLUMNS, CORRECTED, Cell, tried
from tests.unprepared.neighbours import agents, artifact_server
from tests.unprepared.scenes import CLIENTS, Scene, last_server, left_drained, shared_outage
from tests.unprepared.servers import states

NAMESPACE = "UNPREPARED_NAMESPACE"
START_SECONDS = '"5"'
"""The lab's is patience for a crowded machine; here a release that does not start is waited for."""


def main() -> int:
    asked = _arguments()
    if os.geteuid() != 0:
        print("python -m tests.unprepared mounts full disks: run it as root", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="vesemir-unprepared-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # an ordinary user logs in, too
        if NAMESPACE not in os.environ:
            prefix = in_private_namespace(folder, folder, sudoers="")
            own = [sys.executable, "-m", "tests.unprepared", *sys.argv[1:]]
            return subprocess.run([*prefix, *own], env=os.environ | {NAMESPACE: "own"}, check=False).returncode
        return _shown(asked, folder)


def _shown(asked: argparse.Namespace, folder: Path) -> int:
    with _site(asked.boxes, folder) as lab:
        agent = sorted({state["srv_agent_state"] for state in states(lab).values()})
        print(f"{asked.boxes} boxes, whose servers have srv_agent_state {', '.join(agent)}\n")
        found = asyncio.run(_matrix(lab, asked)) if "matrix" in asked.what else []
        found += asyncio.run(_scenes(lab, folder)) if "scenes" in asked.what else []
    print("\n" + ("\n".join(found) or "No request failed, everything held."))
    return 1 if found else 0


@contextmanager
def _site(boxes: int, folder: Path) -> Iterator[Lab]:
    """A lab whose servers have agent checks, with a daemon; ``folder`` is for more releases, too."""
    with ExitStack() as stack:
        place = folder / "lab"
        stack.callback(vesemir, "lab", "down", "--dir", str(place))
        vesemir("lab", "up", "--dir", str(place), "--boxes", str(boxes), "--detach")
        lab = Lab(place)
        inventory = Path(lab["env"]["VESEMIR_INVENTORY__FILE"])
        inventory.write_text(inventory.read_text().replace('start_seconds = "45"', f"start_seconds = {START_SECONDS}"))
        roots = json.dumps([str(place / "artifacts"), str(folder)])
        stack.enter_context(running(lab, folder, "unprepared", {"VESEMIR_ARTIFACTS__ROOTS": roots}))
        stack.enter_context(agents(lab))
        yield lab


async def _matrix(lab: Lab, asked: argparse.Namespace) -> list[str]:
    print(_line(COLUMNS), _line(["---:"] * len(COLUMNS)), sep="\n", flush=True)
    complaints = []
    with artifact_server() as site:
        async with load([lab["http_url"]], **CLIENTS) as seen:
            for cell in _cells(asked):
                outcome = await tried(lab, cell, seen, site=site)
                print(_line(outcome.row()), flush=True)
                complaints += outcome.complaints()
    return complaints


def _cells(asked: argparse.Namespace) -> Iterator[Cell]:
    for cause in asked.causes.split(","):
        for prepare in asked.prepare.split(","):
            for text in asked.concurrency.split(","):
                yield Cell(cause, prepare, text if text.endswith("%") else int(text))
        yield Cell(CORRECTED)


async def _scenes(lab: Lab, folder: Path) -> list[str]:
    complaints: list[str] = []
    dependency = Dependency(folder)
    for scene in (
        left_drained(lab), last_server(lab),
        shared_outage(lab, dependency, "stop"), shared_outage(lab, dependency, "rollback"),
    ):  # fmt: skip
        seen: Scene = await scene
        print("\n".join(["", *seen.said, *(f"  NOT RIGHT: {text}" for text in seen.found)]), flush=True)
        complaints += seen.found
    return complaints


def _line(words: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, words))} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.unprepared", description=__doc__)
    parser.add_argument("what", nargs="*", default=["matrix", "scenes"], help="matrix, scenes; both without a word")
    parser.add_argument("--boxes", type=int, default=6, help="boxes of the lab (6)")
    parser.add_argument("--causes", default=",".join(CAUSES), help="with commas between; all of them")
    parser.add_argument("--concurrency", default="1,50%,100%", help="with commas between (1,50%%,100%%)")
    parser.add_argument("--prepare", default="target,all", help="with commas between (target,all)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
