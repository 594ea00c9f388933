"""A real Prometheus of our own on loopback, and promtool: Debian's, both."""

import json
import math
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml
from tests.acceptance.patience import until

PROMETHEUS, PROMTOOL = "/usr/bin/prometheus", "/usr/bin/promtool"
SECONDS = 60
JOB = "vesemir"

Sample = tuple[Mapping[str, str], float]


def promtool(*words: str, given: bytes = b"") -> tuple[int, str]:
    """(exit status, what it said)."""
    done = subprocess.run(
        [PROMTOOL, *words], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS, check=False
    )
    return done.returncode, done.stdout.decode()


def scrape(url: str) -> bytes:
    """What an instance exposes."""
    with urlopen(f"{url}/metrics", timeout=SECONDS) as answer:  # noqa: S310 - http, on loopback
        body: bytes = answer.read()
        return body


class Prometheus:
    """Asked over its HTTP API."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._process = process
        self._log = log

    def query(self, expression: str) -> list[Sample]:
        """The samples of an instant query, now, that are numbers."""
        found = self._ask(f"/api/v1/query?{urlencode({'query': expression})}")["result"]
        samples = [(each["metric"], float(each["value"][1])) for each in found]
        return [sample for sample in samples if not math.isnan(sample[1])]

    def alerts(self, state: str = "firing") -> dict[str, dict[str, Any]]:
        """By name; of several with one name, one."""
        found = self._ask("/api/v1/alerts")["alerts"]
        return {each["labels"]["alertname"]: each for each in found if each["state"] == state}

    def answers(self) -> bool:
        assert self._process.poll() is None, f"Prometheus ended:\n{self._log.read_text()[-3000:]}"
        try:
            with urlopen(f"{self._url}/-/ready", timeout=SECONDS) as answer:  # noqa: S310 - http, on loopback
                return bool(answer.status == 200)
        except OSError:
            return False

    def _ask(self, path: str) -> Any:
        try:
            with urlopen(f"{self._url}{path}", timeout=SECONDS) as answer:  # noqa: S310 - http, on loopback
                return json.load(answer)["data"]
        except HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()}") from error


@contextmanager
def prometheus(folder: Path, rules: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Scrapes ``targets`` (HOST:PORT) and evaluates ``rules`` every second. Ended with SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": list(targets)}]}],
    }
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(yaml.safe_dump(config))
    words = [PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with log.open("wb") as out:
        process = subprocess.Popen([*words, f"--web.listen-address=127.0.0.1:{port}"], stdout=out, stderr=out)
    try:
        started = Prometheus(port, process, log)
        until(started.answers, what="Prometheus is ready")
        yield started
    finally:
        process.terminate()
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
