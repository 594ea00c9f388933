"""Differences of HAProxy's counters, and when they mean nothing."""

from dataclasses import replace

from vesemir.domain.counters import BoxCounters, CounterTally, ServerCounters, summed, total

WAS = ServerCounters(100, server_errors=5, connection_errors=2, response_errors=1, averaged=98, response_ms=7)


def box(process_id: int = 1, **servers: ServerCounters) -> BoxCounters:
    return BoxCounters(process_id, servers)


def test_the_difference_of_two_readings() -> None:
    now = ServerCounters(150, server_errors=8, connection_errors=2, response_errors=3, averaged=140, response_ms=9)
    assert box(web1=now).continues(box(web1=WAS))
    assert box(web1=now, new=now).since(box(web1=WAS, gone=WAS)) == {"web1": CounterTally(50, 3, 0, 2)}


def test_another_process_or_cleared_counters_make_no_difference() -> None:
    assert not box(2, web1=WAS).continues(box(1, web1=WAS)), "a reload"
    assert not box(web1=replace(WAS, averaged=97)).continues(box(web1=WAS)), "clear counters all"
    assert not box(web1=WAS, web2=ServerCounters()).continues(box(web1=WAS, web2=WAS)), "of one server only"
    assert box(web1=replace(WAS, response_ms=3)).continues(box(web1=WAS)), "an average may fall"


def test_requests_are_put_together_from_several_counters() -> None:
    """One may be read a moment before the other: a step back by one is no reset, and no negative request."""
    assert box(web1=replace(WAS, requests=99)).since(box(web1=WAS)) == {"web1": CounterTally()}
    assert box(web1=replace(WAS, requests=99)).continues(box(web1=WAS))


def test_tallies() -> None:
    assert total([CounterTally(10, 1, 2, 3), CounterTally(5, 1, 0, 0)]) == CounterTally(15, 2, 2, 3)
    assert CounterTally(15, 2, 2, 3) - CounterTally(10, 1, 2, 3) == CounterTally(5, 1, 0, 0)
    assert (CounterTally(10, 1, 2, 3).errors, CounterTally(10, 1, 2, 3).ratio) == (6, 0.6)
    assert (CounterTally(2, 2, 2, 0).errors, CounterTally(2, 2, 2, 0).ratio) == (2, 1.0)
    assert CounterTally().ratio == 0


def test_backends_are_summed_server_by_server() -> None:
    """The response time is that of all responses; one reading from before a reload makes none of them count."""
    shop = BoxCounters(7, {"web1": ServerCounters(10, 1, averaged=10, response_ms=4), "web2": ServerCounters(3)})
    admin = BoxCounters(7, {"web1": ServerCounters(30, 2, 1, averaged=30, response_ms=8)})
    assert summed([shop, admin]) == BoxCounters(
        7, {"web1": ServerCounters(40, 3, 1, averaged=40, response_ms=7), "web2": ServerCounters(3)}
    )
    assert summed([shop]) == shop
    assert summed([shop, BoxCounters(8, admin.servers)]) is None
    assert summed([]) is None
