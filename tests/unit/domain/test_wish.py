"""A wish as the record keeps it."""

from vesemir.domain.wish import Wish


def test_a_wish_comes_back_from_the_record_as_it_went_in() -> None:
    wish = Wish("anna", "lunch")
    assert Wish.of_json(wish.as_json()) == wish


def test_a_wish_of_an_older_version_may_leave_out_who_asked_or_why() -> None:
    assert Wish.of_json({}) == Wish(None, None)
