"""What a server of HAProxy has answered so far, and what it answered between two looks; pure.

The counters are those of ``show stat``, as the source of 2.6 and 3.x counts them and 2.6.12 and 3.0.11 were seen to:

- a response of the server counts in ``hrsp_Nxx`` and ``req_tot``; the 502 to 504 that HAProxy answers in its place do
  not, they are an ``econ`` or ``eresp`` of the server;
- ``econ``: no connection, and no other server took the request; ``wredis``: another server took it (``option
  redispatch``), so that the client saw no error, but this server failed it all the same;
- ``eresp``: no response, not one of HTTP, or broken off in the middle; the last also counts in ``srv_abrt`` and, as its
  status had been sent, in ``hrsp_Nxx``. A connection that was reset before an answer counts twice in it, in 3.0 one
  that was closed too: such a request is two errors of two requests, on every server alike;
- in mode tcp there are sessions (``stot``), which include those that failed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class ServerCounters:
    """Since HAProxy was started, or its counters cleared.

    ``requests`` counts those that ended, well or not; ``averaged`` the responses that HAProxy's average response time
    ``response_ms`` (``rtime``, whole milliseconds) was made of; in mode tcp the sessions, and there is no such time.
    """

    requests: int = 0
    server_errors: int = 0
    connection_errors: int = 0
    response_errors: int = 0
    averaged: int = 0
    response_ms: int | None = None

    def is_before(self, later: "ServerCounters") -> bool:
        """Whether ``later`` can be the same counters at a later time: none went backwards.

        ``requests`` is put together from several that are not read in one instant, so that one may step back by itself.
        """
        counts = attrgetter("server_errors", "connection_errors", "response_errors", "averaged")
        return all(old <= new for old, new in zip(counts(self), counts(later), strict=True))

    def __add__(self, other: "ServerCounters") -> "ServerCounters":
        """One server in two backends: the response time is that of both, by their responses."""
        averaged = self.averaged + other.averaged
        timed = [each for each in (self, other) if each.response_ms is not None and each.averaged]
        spent = sum(each.averaged * (each.response_ms or 0) for each in timed)
        return ServerCounters(
            self.requests + other.requests,
            self.server_errors + other.server_errors,
            self.connection_errors + other.connection_errors,
            self.response_errors + other.response_errors,
            averaged,
            round(spent / sum(each.averaged for each in timed)) if timed else self.response_ms or other.response_ms,
        )

    def since(self, earlier: "ServerCounters") -> "CounterTally":
        """What was answered between the two."""
        return CounterTally(
            max(0, self.requests - earlier.requests),
            self.server_errors - earlier.server_errors,
            self.connection_errors - earlier.connection_errors,
            self.response_errors - earlier.response_errors,
        )


@dataclass(frozen=True, slots=True)
class BoxCounters:
    """One backend on one HAProxy, read at one moment: its process and its servers by name; or several, summed."""

    process_id: int
    servers: Mapping[str, ServerCounters]

    def continues(self, earlier: "BoxCounters") -> bool:
        """Whether the difference to ``earlier`` means something: not after a reload, or when counters were cleared."""
        return self.process_id == earlier.process_id and all(
            was.is_before(self.servers[name]) for name, was in earlier.servers.items() if name in self.servers
        )

    def since(self, earlier: "BoxCounters") -> "dict[str, CounterTally]":
        """What each server answered between the two; one that was added in between is not in it."""
        known = earlier.servers.keys() & self.servers.keys()
        return {name: self.servers[name].since(earlier.servers[name]) for name in known}


def summed(backends: Sequence[BoxCounters]) -> BoxCounters | None:
    """The backends of one HAProxy as one. None without any, or when a reload came between the readings."""
    if len({each.process_id for each in backends}) != 1:
        return None
    servers: dict[str, ServerCounters] = {}
    for each in backends:
        for name, counters in each.servers.items():
            servers[name] = servers[name] + counters if name in servers else counters
    return BoxCounters(backends[0].process_id, servers)


@dataclass(frozen=True, slots=True)
class CounterTally:
    """Requests that ended in some time, and how many of them were errors, by kind."""

    requests: int = 0
    server_errors: int = 0
    connection_errors: int = 0
    response_errors: int = 0

    def __add__(self, other: "CounterTally") -> "CounterTally":
        return CounterTally(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "CounterTally") -> "CounterTally":
        return CounterTally(*(one - another for one, another in zip(astuple(self), astuple(other), strict=True)))

    @property
    def errors(self) -> int:
        """At most all requests: the counters are not read in one instant."""
        return min(self.requests, self.server_errors + self.connection_errors + self.response_errors)

    @property
    def ratio(self) -> float:
        return self.errors / self.requests if self.requests else 0.0


def total(tallies: Iterable[CounterTally]) -> CounterTally:
    return sum(tallies, CounterTally())
