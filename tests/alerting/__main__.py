"""``python -m tests.alerting``: what promtool and a real Prometheus say of a lab run (docs/metrics.md)."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.acceptance.installed_lab import Lab, vesemir
from tests.acceptance.pika_requester import Requester
from tests.alerting.dashboard import queries
from tests.alerting.documented import documented, exposed
from tests.alerting.prometheus import PROMETHEUS, promtool, scrape
from tests.alerting.provoking import PROVOKED, provoke
from tests.alerting.shortened import RULES
from tests.alerting.watching import watched_lab

ROOT = RULES.parents[2]
BEGUN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGUN:5.0f} s  {text}", flush=True)


def checked(what: str, *words: str, given: bytes = b"") -> bool:
    status, said = promtool(*words, given=given)
    lines = [line.strip().replace(f"{ROOT}/", "") for line in said.splitlines() if line.strip()]
    say(f"promtool {what}: {'passed' if status == 0 else 'FAILED'}; it said: {' / '.join(lines) or 'nothing'}")
    return status == 0


def in_lab(folder: Path) -> bool:
    """Everything that needs instances to scrape."""
    lab = Lab(folder / "lab")
    with watched_lab(lab, folder) as watched, Requester(lab["amqp_url"]) as requester:
        say(f"Prometheus scrapes {len(watched.daemons)} instances of a lab with {len(lab.names)} boxes")
        fired = provoke(lab, requester, watched.daemons, watched.prometheus, say)
        asked = list(queries())
        empty = [query for _, query in asked if not watched.prometheus.query(query)]
        say(f"dashboard: {len(asked) - len(empty)} of {len(asked)} queries returned data {empty or ''}")
        texts = [scrape(daemon.url) for daemon in watched.daemons]
        same = all(exposed(text.decode()) == documented() for text in texts)
        say(f"docs/metrics.md: {len(documented())} metrics, {'the same' if same else 'NOT the same'} as scraped")
        passed = [checked("check metrics", "check", "metrics", given=text) for text in texts]
    return all(passed) and same and not empty and set(PROVOKED) <= fired


def main() -> int:
    version = subprocess.run([PROMETHEUS, "--version"], capture_output=True, text=True, check=True)
    say((version.stdout + version.stderr).splitlines()[0])
    passed = checked("check rules", "check", "rules", str(RULES))
    passed &= checked("test rules", "test", "rules", str(RULES.with_name("vesemir.rules.test.yml")))
    passed &= checked("check config", "check", "config", str(RULES.with_name("prometheus.yml")))
    with tempfile.TemporaryDirectory(prefix="vesemir-alerting-") as name:
        folder = Path(name)
        try:
            vesemir("lab", "up", "--dir", str(folder / "lab"), "--boxes", "3", "--detach")
            passed &= in_lab(folder)
        finally:
            vesemir("lab", "down", "--dir", str(folder / "lab"))
    say("all of it passed" if passed else "NOT all of it passed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
