"""Look by look: which requests count, against whom, and what a reload takes away."""

from dataclasses import replace

from vesemir.domain.analysis import AnalysisRules, Verdict
from vesemir.domain.canary import Judge
from vesemir.domain.counters import BoxCounters, CounterTally, ServerCounters
from vesemir.domain.request import Analysis

ASKED = Analysis(min_requests=50, hold_seconds=60, max_error_ratio=0.01)


class Lb:
    """One HAProxy; ``answer(web1=(10, 2))``: ten requests more, two of them errors."""

    def __init__(self, *names: str) -> None:
        self.process_id = 1
        self.servers = dict.fromkeys(names, ServerCounters(1000, 77, averaged=1000, response_ms=10))

    def answer(self, **more: tuple[int, int]) -> None:
        for name, (requests, errors) in more.items():
            was = self.servers[name]
            self.servers[name] = replace(
                was,
                requests=was.requests + requests,
                server_errors=was.server_errors + errors,
                averaged=was.averaged + requests,
            )

    def reload(self) -> None:
        self.process_id += 1
        self.servers = dict.fromkeys(self.servers, ServerCounters(response_ms=0))

    @property
    def counters(self) -> BoxCounters:
        return BoxCounters(self.process_id, dict(self.servers))


def judge(*canaries: str) -> Judge:
    return Judge(ASKED, AnalysisRules(), canary="web1", canaries=canaries or ("web1",))


def look(watching: Judge, *boxes: Lb) -> None:
    watching.look({f"lb{number}": box.counters for number, box in enumerate(boxes, start=1)})


def test_what_was_counted_before_the_window_does_not_count() -> None:
    watching, lb = judge(), Lb("web1", "web2")
    look(watching, lb)
    assert watching.figures().of_canary == CounterTally()
    lb.answer(web1=(10, 2), web2=(30, 1))
    look(watching, lb)
    figures = watching.figures()
    assert (figures.of_canary, figures.of_siblings, figures.siblings) == (CounterTally(10, 2), CounterTally(30, 1), 1)


def test_other_canaries_are_no_siblings() -> None:
    """They run the new release as well, or are out just now."""
    watching, lb = judge("web1", "web2"), Lb("web1", "web2", "web3")
    look(watching, lb)
    lb.answer(web1=(10, 5), web2=(10, 5), web3=(10, 0))
    look(watching, lb)
    figures = watching.figures()
    assert (figures.of_siblings, figures.siblings, figures.shared_by) == (CounterTally(10), 1, 2)


def test_all_boxes_are_summed() -> None:
    watching, one, two = judge(), Lb("web1", "web2"), Lb("web1", "web2")
    look(watching, one, two)
    one.answer(web1=(10, 1), web2=(20, 0))
    two.answer(web1=(5, 2), web2=(7, 3))
    look(watching, one, two)
    assert (watching.figures().of_canary, watching.figures().of_siblings) == (CounterTally(15, 3), CounterTally(27, 3))


def test_each_box_is_compared_for_itself() -> None:
    """One HAProxy has no way to its servers, and by chance most of the canary's traffic: that is not the release."""
    watching, whole, cut = judge(), Lb("web1", "web2"), Lb("web1", "web2")
    look(watching, whole, cut)
    for _ in range(20):
        whole.answer(web1=(1, 0), web2=(99, 0))
        cut.answer(web1=(99, 99), web2=(99, 99))
        look(watching, whole, cut)
    assert watching.figures().of_canary.ratio > 0.9
    assert watching.figures().of_siblings.ratio == 0.5
    assert watching.figures().worse_p == 1
    assert watching.verdict().verdict is Verdict.PASS


def test_a_box_that_did_not_answer_is_caught_up_with() -> None:
    watching, one, two = judge(), Lb("web1", "web2"), Lb("web1", "web2")
    look(watching, one, two)
    two.answer(web1=(10, 1))
    look(watching, one)
    assert watching.figures().of_canary == CounterTally()
    look(watching, one, two)
    assert watching.figures().of_canary == CounterTally(10, 1)


def test_a_reload_loses_one_interval_and_is_told() -> None:
    watching, lb = judge(), Lb("web1", "web2")
    look(watching, lb)
    watching.begin_hold()
    lb.answer(web1=(40, 1))
    look(watching, lb)
    lb.answer(web1=(7, 0))  # lost
    lb.reload()
    lb.answer(web1=(3, 0))  # lost too: nobody knows what the new process counted before it was asked
    look(watching, lb)
    lb.answer(web1=(20, 1), web2=(20, 0))
    look(watching, lb)
    figures = watching.figures()
    assert figures.of_canary == CounterTally(60, 2)
    assert figures.lost == ("lb1",)
    assert figures.canary_time is not None
    assert figures.canary_time.requests == 20, "the new process's average is counted from there"


def test_response_times_are_those_of_the_last_hold() -> None:
    watching, lb = judge(), Lb("web1", "web2")
    look(watching, lb)
    watching.begin_hold()
    lb.answer(web1=(100, 0))
    look(watching, lb)
    watching.end_hold(10, 60.0)
    watching.begin_hold()
    lb.answer(web1=(30, 3))
    look(watching, lb)
    watching.end_hold(100, 20.0)
    figures = watching.figures()
    assert figures.canary_time is not None
    assert figures.canary_time.requests == 30
    assert [(held.percent, held.seconds, held.canary) for held in figures.holds] == [
        (10, 60.0, CounterTally(100)),
        (100, 20.0, CounterTally(30, 3)),
    ]


def test_a_canary_that_answers_only_errors_is_not_too_little_traffic() -> None:
    watching, lb = judge(), Lb("web1", "web2", "web3", "web4", "web5")
    look(watching, lb)
    for second in range(1, 11):
        lb.answer(web1=(1, 1), web2=(1, 0), web3=(1, 0), web4=(1, 0), web5=(1, 0))
        look(watching, lb)
        if judged := watching.beyond_doubt():
            assert second <= 6, "of 50 that min_requests asks for"
            assert judged.verdict is Verdict.FAIL
            return
    raise AssertionError("it was not caught")


def test_a_server_that_is_added_meanwhile_is_a_sibling_from_then_on() -> None:
    watching, lb = judge(), Lb("web1")
    look(watching, lb)
    lb.servers["web2"] = ServerCounters(500, 400)
    look(watching, lb)
    lb.answer(web2=(10, 1))
    look(watching, lb)
    assert watching.figures().of_siblings == CounterTally(10, 1)
