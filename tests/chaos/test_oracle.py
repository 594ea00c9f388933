"""The suite's own eyes: what would be an overlap, a gap, a doubled event or a wrong order is seen as one."""

from pathlib import Path
from typing import Any

import pytest
from tests.chaos import oracle
from tests.chaos.arena import Deployment
from tests.chaos.proxy import BASIC_ACK, ConfirmDropper
from tests.chaos.requester import Seen
from tests.chaos.verdict import Score, _check_events

DEPLOYMENT = Deployment("d1", "shop/chaos", ("web1",), {})


def written(tmp_path: Path, *lines: str) -> oracle.Boxes:
    """``WHAT EPOCH NONCE AT`` each, of one deployment on one box."""
    text = []
    for line in lines:
        what, epoch, nonce, at = line.split()
        text.append(f"{what} d1 web1 script {epoch} {nonce} {at}\n")
    (tmp_path / "oracle.shop%2Fchaos").write_text("".join(text))
    return oracle.read([tmp_path], DEPLOYMENT.lane)


def test_one_run_after_another_is_no_overlap(tmp_path: Path) -> None:
    seen = written(tmp_path, "start 1 a 1.0", "tick 1 a 1.1", "start 2 b 5.0", "end 2 b 5.2")
    assert seen.overlaps == 0
    assert [(run.nonce, run.epoch, run.ended, run.last) for run in seen.of("d1")] == [
        ("a", 1, False, 1.1),
        ("b", 2, True, 5.2),
    ]


def test_a_line_of_the_earlier_run_after_the_later_one_began_is_an_overlap(tmp_path: Path) -> None:
    seen = written(tmp_path, "start 1 a 1.0", "start 2 b 1.1", "tick 1 a 1.2", "end 2 b 1.3")
    assert seen.overlaps == 1
    assert [run.nonce for run in seen.of("d1") if run.overlapped] == ["a"]


def heard(*numbers: int, ids: dict[int, str] | None = None, result: tuple[int, ...] = ()) -> list[Seen]:
    def body(number: int) -> dict[str, Any]:
        return {"sequence": number, "event": "deployment.finished" if number in result else "step.finished"}

    return [Seen(0.0, (ids or {}).get(place, f"id{number}"), body(number)) for place, number in enumerate(numbers)]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (heard(1, 2, 3, result=(3,)), (0, 0, 0, 0)),
        (heard(1, 2, 2, 3, result=(3,)), (0, 0, 0, 0)),  # a repeat with the same message_id is allowed
        (heard(1, 3, result=(3,)), (1, 0, 0, 1)),
        (heard(1, 2), (0, 1, 0, 1)),
        (heard(), (0, 1, 0, 2)),  # nothing at all: no result, and its first event is missing too
        (heard(1, 2, 2, 3, ids={2: "other"}, result=(3,)), (0, 0, 1, 1)),
        (heard(1, 2, 3, result=(2, 3)), (0, 0, 1, 1)),
        (heard(2, 1, 3, result=(3,)), (0, 0, 0, 1)),
    ],
    ids=["good", "repeat", "gap", "no result", "nothing", "another id", "two results", "order"],
)
def test_events_are_judged(seen: list[Seen], expected: tuple[int, int, int, int]) -> None:
    score = Score("1", "")
    troubles = _check_events(score, DEPLOYMENT, seen)
    lost = 0 if not seen else score.events_lost
    assert (lost, score.results_lost, score.doubled, len(troubles)) == expected


def test_only_confirms_are_dropped() -> None:
    """Frames in pieces of any size: a Basic.Ack is left out so often, everything else stays the same bytes."""
    confirm = b"\x01\x00\x01\x00\x00\x00\x0d" + BASIC_ACK + bytes(9) + b"\xce"
    beat = b"\x08\x00\x00\x00\x00\x00\x00\xce"
    dropper = ConfirmDropper(1)
    look = dropper.look()
    stream = beat + confirm + beat + confirm
    passed = b"".join(look(stream[place : place + 5]) for place in range(0, len(stream), 5))
    assert passed == beat + beat + confirm
    assert dropper.dropped == 1
