"""The one judge of what hosts send: good frames pass in any pieces, everything else is refused, and little is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.hostile_frames import STEPS, TRACES, WELCOMES, ended, welcome

from vesemir.adapters.ssh.host_connection import BURST_SECONDS, SHARE, LoopShare
from vesemir.adapters.ssh.host_frames import (
    ALLOWED,
    FORMS,
    LONGEST,
    Awaited,
    HeldOutput,
    HostFrame,
    HostFrameError,
    HostFrames,
    HostRefusal,
    Welcome,
)
from vesemir.adapters.ssh.onhost.wire import ANSWER, HEADER, HELD, OUTPUT, PIECE, REFUSED, frame, pack
from vesemir.domain.step import StepResult, StepStatus, StepTrace, Trace

LIMIT = 256 * 1024
LARGE = b"x" * 20_000
SESSION = [
    (Awaited.WELCOME, welcome(), Welcome("/home/x/.vesemir")),
    (Awaited.TRACE, frame(ANSWER, pack([b"never"])), StepTrace(Trace.NEVER)),
    (
        Awaited.TRACE,
        frame(ANSWER, pack([b"finished", b"failed", b"3", b"9", b"2.5", b"0", b"1", b"why"])),
        StepTrace(Trace.FINISHED, StepResult(StepStatus.FAILED, 3, b"", 9, 2.5, 0, True, "why")),  # noqa: FBT003
    ),
    (
        Awaited.STEP,
        frame(OUTPUT, b"done\n") + ended(),
        StepResult(StepStatus.SUCCEEDED, 0, b"done\n", 5, 0.1),
    ),
    (Awaited.STEP, ended(exit_status=b""), StepResult(StepStatus.SUCCEEDED, None, b"", 5, 0.1)),
]


def received(frames: HostFrames, data: bytes, size: int) -> list[HostFrame]:
    return [each for place in range(0, len(data), size) for each in frames.feed(data[place : place + size])]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_an_honest_session_passes_in_pieces_of_any_size(size: int) -> None:
    frames = HostFrames()
    for awaited, data, meant in SESSION:
        frames.ask(awaited, output_limit=LIMIT)
        assert received(frames, data, size) == [meant]
    assert frames.awaited is Awaited.NOTHING
    assert frames.feed(frame(REFUSED, pack([b"busy", b"others work"]))) == [HostRefusal(b"busy", "others work")]


def test_large_output_comes_when_it_is_asked_for() -> None:
    frames = HostFrames()
    frames.ask(Awaited.STEP, output_limit=LIMIT)
    assert frames.feed(frame(HELD, pack([b"20000"]))) == [HeldOutput(20_000)]
    frames.send_output()
    (result,) = frames.feed(frame(OUTPUT, LARGE) + ended(printed=b"20000"))
    assert isinstance(result, StepResult)
    assert result.output == LARGE


def test_a_cancelled_step_ends_without_its_large_output() -> None:
    frames = HostFrames()
    frames.ask(Awaited.STEP, output_limit=LIMIT)
    frames.feed(frame(HELD, pack([b"20000"])))
    (result,) = frames.feed(ended(status=b"cancelled"))
    assert isinstance(result, StepResult)
    assert result.output == b""


@pytest.mark.parametrize(
    ("awaited", "data"),
    [
        *[pytest.param(Awaited.STEP, data, id=f"step: {name}") for name, data in STEPS.items() if name != "two ends"],
        *[pytest.param(Awaited.WELCOME, data, id=f"lane: {name}") for name, data in WELCOMES.items()],
        *[pytest.param(Awaited.TRACE, data, id=f"trace: {name}") for name, data in TRACES.items()],
        pytest.param(Awaited.NOTHING, ended(), id="nothing was asked"),
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_what_no_supervisor_sends_is_refused(awaited: Awaited, data: bytes, size: int) -> None:
    frames = HostFrames()
    if awaited is not Awaited.NOTHING:
        frames.ask(awaited, output_limit=LIMIT)
    with pytest.raises(HostFrameError):
        received(frames, data, size)


def test_what_is_too_long_is_refused_by_its_head() -> None:
    for awaited, kinds in ALLOWED.items():
        for kind in kinds:
            frames = HostFrames()
            if awaited is not Awaited.NOTHING:
                frames.ask(awaited, output_limit=LIMIT)
            with pytest.raises(HostFrameError):
                frames.feed(kind + (LONGEST[kind] + 1).to_bytes(4, "big"))


def test_every_kind_that_may_come_has_a_form_and_a_limit() -> None:
    kinds = {kind for allowed in ALLOWED.values() for kind in allowed}
    assert kinds == set(LONGEST)
    assert kinds - {OUTPUT, ANSWER} == set(FORMS)


@given(
    awaited=st.sampled_from([each for each in Awaited if each not in {Awaited.NOTHING, Awaited.HELD, Awaited.SENT}]),
    sent=st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.builds(frame, st.sampled_from(sorted(LONGEST)), st.binary(max_size=300)),
            st.builds(
                lambda kind, fields: frame(kind, pack(fields)),
                st.sampled_from(sorted(LONGEST)),
                st.lists(st.one_of(st.binary(max_size=40), st.from_regex(rb"[0-9]{1,40}", fullmatch=True)), max_size=9),
            ),
        ),
        max_size=20,
    ),
)
def test_any_bytes_are_a_value_or_a_refusal(awaited: Awaited, sent: list[bytes]) -> None:
    """Never another error, and never more is kept than one frame and the output that was asked for."""
    frames = HostFrames()
    frames.ask(awaited, output_limit=LIMIT)
    try:
        for data in sent:
            frames.feed(data)
            frames.send_output()
            assert len(frames._received) <= HEADER + max(PIECE, *LONGEST.values())
            assert len(frames._output) <= LIMIT
    except HostFrameError:
        return


def test_a_host_has_its_share_of_the_loop_in_the_long_run() -> None:
    share, now, used = LoopShare(), 1000.0, 0.0
    assert share.spend(BURST_SECONDS, now=now) == 0, "at once, a little is free"
    while now < 1100.0:
        used += 0.005
        now += share.spend(0.005, now=now)
    assert used < 1.1 * SHARE * 100
    assert share.spend(0.001, now=now + 1000) == 0, "what was long ago does not count"
