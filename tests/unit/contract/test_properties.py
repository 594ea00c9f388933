"""The properties of a message are judged like its body: what the record cannot hold is refused by its name."""

import pytest

from vesemir.contract.properties import MessageProperties, property_problems


@pytest.mark.parametrize("text", ["\x00", "a\x00", "\ud800", "b\udfff"])
@pytest.mark.parametrize("name", ["reply_to", "correlation_id", "user_id"])
def test_what_cannot_be_stored_is_named(name: str, text: str) -> None:
    (problem,) = property_problems(MessageProperties(**{name: text}))
    assert problem.field == name


@pytest.mark.parametrize("text", ["", "a", "\x01\x1b\x7f\u202e\uffff", "\U0001f600", "ä" * 127])
def test_anything_else_is_kept(text: str) -> None:
    assert property_problems(MessageProperties(text, text, text)) == ()


def test_only_a_queue_that_can_exist_is_answered() -> None:
    assert MessageProperties("answers").answerable
    assert not MessageProperties("").answerable
    assert not MessageProperties(None).answerable
    assert not MessageProperties("a\x00").answerable
