"""Answers outside the record: to whom they go, that they are the contract's, and that a repeat can be told."""

import pytest
from tests.unit.engine.messages.mailbox import Post, incoming

from vesemir.contract import CommonFields, Refusal, refusal
from vesemir.domain.failure import Failure, FailureCode
from vesemir.domain.problem import Problem

COMMON = CommonFields("d1", "shop", "production", "2.0.0")


def refused(code: FailureCode = FailureCode.REQUEST_INVALID, *, text: str = "is wrong") -> Refusal:
    return refusal(code, (Problem("version", text),), COMMON)


@pytest.fixture
def post() -> Post:
    return Post()


async def test_a_refusal_goes_to_the_requester_the_listeners_and_the_rejected_queue(post: Post) -> None:
    await post.answers.rejected(incoming(b"\xff not json"), refused())
    copy, topic, answer = post.broker.published
    assert (copy.routing_key, copy.body, copy.content_type) == ("vesemir.rejected", b"\xff not json", None)
    assert copy.headers == {"x-vesemir-code": "request.invalid", "x-vesemir-reason": "version is wrong"}
    assert (topic.exchange, topic.routing_key) == ("vesemir.events", "shop.production.deployment.rejected")
    assert (answer.exchange, answer.routing_key, answer.mandatory) == ("", "answers", True)
    assert {each.correlation_id for each in post.broker.published} == {"c-1"}
    assert post.answered()[0]["deployment_id"] == "d1"


async def test_what_could_not_be_read_is_null_and_unknown(post: Post) -> None:
    problem = Problem("body", "must be JSON")
    await post.answers.rejected(incoming(b"{"), refusal(FailureCode.REQUEST_INVALID, (problem,), CommonFields()))
    (answer,) = post.answered()
    assert (answer["deployment_id"], answer["application"], answer["sequence"]) == (None, None, 0)
    assert post.broker.published[1].routing_key == "unknown.unknown.deployment.rejected"


async def test_a_reason_fits_into_a_header(post: Post) -> None:
    await post.answers.rejected(incoming({}), refused(text="ä" * 3000))
    (copy,) = post.to("vesemir.rejected")
    assert len(copy.headers["x-vesemir-reason"]) <= 500
    assert copy.headers["x-vesemir-reason"].isascii()


async def test_without_reply_to_the_listeners_are_told_all_the_same(post: Post) -> None:
    await post.answers.rejected(incoming({}, reply_to=None), refused())
    assert [each.exchange for each in post.broker.published] == ["", "vesemir.events"]


@pytest.mark.parametrize("code", [FailureCode.REQUEST_FORBIDDEN, FailureCode.REQUEST_TOO_LARGE])
@pytest.mark.parametrize("queue", ["vesemir.deployments", "vesemir.control", "vesemir.rejected"])
async def test_nothing_is_answered_into_queues_of_our_own(post: Post, code: FailureCode, queue: str) -> None:
    """Also when something else was found wrong first: a size is judged before a reply_to."""
    await post.answers.rejected(incoming({}, reply_to=queue), refused(code))
    assert [each.routing_key for each in post.to(queue)] == (
        ["vesemir.rejected"] if queue == "vesemir.rejected" else []
    )


async def test_an_answer_that_nobody_takes_is_logged_and_no_error(post: Post) -> None:
    await post.answers.rejected(incoming({}, reply_to="gone"), refused())
    assert post.log.of("warning") == ["deployment.rejected could not be delivered to gone: returned"]


async def test_a_repeated_answer_has_the_same_ids_and_each_place_its_own(post: Post) -> None:
    for _ in range(2):
        await post.answers.rejected(incoming({"a": 1}), refused())
    ids = [each.message_id for each in post.broker.published]
    assert ids[:3] == ids[3:]
    assert len(set(ids)) == 3
    await post.answers.rejected(incoming({"a": 2}), refused())
    await post.answers.rejected(incoming({"a": 1}, correlation_id="c-2"), refused())
    assert len({each.message_id for each in post.broker.published}) == 9


async def test_answers_carry_the_attributes_of_cloud_events_and_the_copy_does_not(post: Post) -> None:
    await post.answers.rejected(incoming({"a": 1}), refused())
    copy, *answers = post.broker.published
    assert {each.headers["cloudEvents:type"] for each in answers} == {"io.vesemir.deployment.rejected"}
    assert [each.headers["cloudEvents:id"] for each in answers] == [each.message_id for each in answers]
    assert not any(name.startswith("cloudEvents:") for name in copy.headers)


async def test_control_is_answered_with_both_kinds(post: Post) -> None:
    failure = Failure(FailureCode.CONTROL_NOT_RUNNING, "it has ended")
    await post.answers.control(incoming({}), COMMON, "pause", None)
    await post.answers.control(incoming({}), COMMON, "pause", failure)
    accepted, rejected = post.answered()
    assert (accepted["event"], accepted["failure"]) == ("control.accepted", None)
    assert (rejected["event"], rejected["failure"]["code"]) == ("control.rejected", "control.not_running")
    assert post.to("vesemir.rejected") == []


async def test_a_control_message_that_cannot_be_read_is_copied_too(post: Post) -> None:
    await post.answers.control_refused(incoming(b"{"), refused())
    assert [each.body for each in post.to("vesemir.rejected")] == [b"{"]
    assert post.answered()[0]["command"] is None


@pytest.mark.parametrize("queue", ["another", "answers.more", "not-answers", "Answers", "answers\n", ""])
@pytest.mark.parametrize("code", [FailureCode.REQUEST_FORBIDDEN, FailureCode.REQUEST_TOO_LARGE])
async def test_a_reply_to_that_the_settings_do_not_allow_gets_nothing(
    post: Post, queue: str, code: FailureCode
) -> None:
    post.broker.declare(queue)
    await post.answers.rejected(incoming({}, reply_to=queue), refused(code))
    assert {each.routing_key for each in post.broker.published} == {
        "vesemir.rejected",
        "shop.production.deployment.rejected",
    }


async def test_copies_of_what_was_refused_do_not_stay_for_ever(post: Post) -> None:
    await post.answers.rejected(incoming({}), refused())
    await post.answers.control_refused(incoming(b"{"), refused())
    assert {each.expires_seconds for each in post.to("vesemir.rejected")} == {30 * 24 * 3600}
    assert {each.expires_seconds for each in post.to("answers")} == {None}
    assert {each.expires_seconds for each in post.to("vesemir.events")} == {None}
