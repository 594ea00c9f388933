"""The one signal that ends the work on a deployment: two stages, the first reason, and who hears of it."""

from vesemir.engine.ownership.listeners import Listeners
from vesemir.engine.ownership.stop_signal import StopReason, StopSignal


def test_nothing_ends_before_it_is_set() -> None:
    signal = StopSignal()
    assert (signal.ending, signal.handing_over, signal.reason) == (False, False, None)


def test_a_hand_over_lets_what_is_in_work_go_on_until_it_is_left() -> None:
    signal = StopSignal()
    signal.hand_over()
    assert (signal.ending, signal.handing_over, signal.reason) == (True, True, None)
    signal.leave()
    assert (signal.ending, signal.reason) == (True, StopReason.HANDED_OVER)


def test_the_first_reason_stays() -> None:
    signal = StopSignal()
    signal.stop(StopReason.CANCELLED)
    signal.stop(StopReason.LEASE_LOST)
    signal.leave()
    assert (signal.ending, signal.handing_over, signal.reason) == (True, False, StopReason.CANCELLED)


def test_each_stage_is_heard_once_and_by_those_who_listen_then() -> None:
    signal = StopSignal()
    heard: list[str] = []
    with signal.heard_by(lambda: heard.append("first")):
        with signal.heard_by(lambda: heard.append("second")):
            signal.hand_over()
            signal.hand_over()
        signal.leave()
        signal.leave()
    signal.stop(StopReason.CANCELLED)
    assert heard == ["first", "second", "first"]


def test_a_signal_follows_another_as_far_as_that_has_come() -> None:
    of_all, signal, late = StopSignal(), StopSignal(), StopSignal()
    signal.follow(of_all)
    assert not signal.ending
    of_all.hand_over()
    signal.follow(of_all)
    assert (signal.handing_over, signal.reason) == (True, None)
    of_all.leave()
    late.stop(StopReason.LEASE_LOST)
    for each in (signal, late):
        each.follow(of_all)
    assert (signal.reason, late.reason) == (StopReason.HANDED_OVER, StopReason.LEASE_LOST)


def test_a_listener_that_another_one_ends_is_not_called_any_more() -> None:
    listeners, heard = Listeners(), []

    def second() -> None:
        heard.append("second")

    def first() -> None:
        heard.append("first")
        listeners.remove(second)

    listeners.add(first)
    listeners.add(second)
    listeners.call()
    assert heard == ["first"]
