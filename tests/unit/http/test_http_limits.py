"""How many connections HTTP may have beside everything else that needs descriptors, and whose count together."""

import resource

import pytest
from tests.unit.engine.world import Lines

from vesemir.adapters.http.limits import FEWEST_CONNECTIONS, HttpLimits, connections_within, peer_of
from vesemir.settings import HttpSettings


class Process:
    """A process with these limits of descriptors."""

    def __init__(self, soft: int, hard: int) -> None:
        self.limits = (soft, hard)

    def get(self, _: int) -> tuple[int, int]:
        return self.limits

    def set(self, _: int, limits: tuple[int, int]) -> None:
        self.limits = limits


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Process:
    process = Process(*request.param)
    monkeypatch.setattr(resource, "getrlimit", process.get)
    monkeypatch.setattr(resource, "setrlimit", process.set)
    return process


NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("process", "soft", "connections"),
    [
        ((1024, 524288), 1800, 1000),
        ((1024, NO_LIMIT), 1800, 1000),
        ((1024, 1024), 1024, 224),
        ((NO_LIMIT, NO_LIMIT), NO_LIMIT, 1000),
        ((65536, 65536), 65536, 1000),
        ((256, 256), 256, FEWEST_CONNECTIONS),
    ],
    indirect=["process"],
)
def test_http_never_has_the_last_descriptors(process: Process, soft: int, connections: int) -> None:
    assert connections_within(1000, kept=800) == connections
    assert process.limits[0] == soft


@pytest.mark.parametrize("process", [(1024, 1024)], indirect=True)
def test_too_few_descriptors_are_said_at_the_start(process: Process) -> None:
    log = Lines()
    limits = HttpLimits.of(HttpSettings(), kept=800, log=log)
    assert (limits.connections, limits.per_address) == (224, 224)
    assert "raise LimitNOFILE" in log.of("warning")[0]
    process.limits = (8192, 8192)
    assert HttpLimits.of(HttpSettings(), kept=800, log=log).connections == 1000
    assert len(log.lines) == 1


@pytest.mark.parametrize(
    ("peername", "peer"),
    [
        (("192.0.2.7", 1234), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1234, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::1", 1, 0, 0), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        ("", ""),
        (None, ""),
        (("no address", 1), ""),
    ],
)
def test_an_ipv6_network_of_one_host_counts_as_one_address(peername: object, peer: str) -> None:
    assert peer_of(peername) == peer
