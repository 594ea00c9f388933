"""``python -m tests.integration_env [ARTIFACT]``: is this release candidate good? The scenarios, judged one by one."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.chaos.requester import Requester
from tests.integration_env.artifacts import BEFORE, Artifact, build_commit, build_crashing
from tests.integration_env.scenarios import SCENARIOS
from tests.integration_env.site import Site, site_up


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.integration_env", description=__doc__)
    parser.add_argument("artifact", nargs="?", type=Path, help="the candidate (default: built from this commit)")
    parser.add_argument("--before", type=Path, help=f"the artifact to upgrade from (default: this commit as {BEFORE})")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(SCENARIOS)}; `installed` always")
    parser.add_argument("--keep", type=Path, help="a folder for everything, which then stays")
    return parser.parse_args()


async def _judge(site: Site, names: Sequence[str], console: Console) -> list[tuple[str, float, str, bool]]:
    rows = []
    async with Requester.connected(site.lab["amqp_url"], "vesemir") as requester:
        for name in names:
            began = time.monotonic()
            try:
                told, good = await SCENARIOS[name](site, requester), True
            except Exception as error:  # noqa: BLE001 -- one that fails must not hide the others
                told, good = f"{type(error).__name__}: {error}", False
                if not isinstance(error, AssertionError):
                    traceback.print_exc()
            rows.append((name, time.monotonic() - began, told, good))
            console.print(f"{'ok    ' if good else 'BROKEN'} {name} ({rows[-1][1]:.0f} s): {told}", soft_wrap=True)
            if name == "installed" and not good:
                break
    return rows


def _table(rows: Sequence[tuple[str, float, str, bool]]) -> Table:
    table = Table("scenario", "", "seconds", "what was seen")
    for name, seconds, told, good in rows:
        table.add_row(name, "ok" if good else "BROKEN", f"{seconds:.0f}", told)
    return table


def main() -> int:
    asked = _arguments()
    if os.geteuid() != 0:
        print("the integration environment boots machines with systemd, which only root may", file=sys.stderr)
        return 2
    wanted = asked.only.split(",") if asked.only else list(SCENARIOS)
    if unknown := set(wanted) - set(SCENARIOS):
        print(f"no such scenario: {', '.join(unknown)}; there is {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    names = [name for name in SCENARIOS if name in wanted or name == "installed"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the machines are taken down
    began = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 160)
    with contextlib.ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vesemir-env-")))
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / "artifacts"
        candidate = Artifact.at(asked.artifact.resolve()) if asked.artifact else build_commit(out, None)
        old = Artifact.at(asked.before.resolve()) if asked.before else build_commit(out, BEFORE)
        artifacts = [old, candidate, build_crashing(out)]
        console.print(
            f"candidate {candidate.version} ({candidate.path.name}, sha256 {candidate.sha256})", soft_wrap=True
        )
        site = stack.enter_context(site_up(folder, artifacts, candidate=candidate))
        console.print(f"the environment is up after {time.monotonic() - began:.0f} s")
        rows = asyncio.run(_judge(site, names, console))
    console.print(_table(rows))
    broken = [name for name, _, _, good in rows if not good]
    console.print(f"{len(rows) - len(broken)} of {len(names)} scenarios held, {time.monotonic() - began:.0f} s in all")
    return 1 if broken or len(rows) < len(names) else 0


if __name__ == "__main__":
    sys.exit(main())
