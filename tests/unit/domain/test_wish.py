"""A wish as the record keeps it."""

import pytest

from vesemir.domain.identity import Identity
from vesemir.domain.wish import Wish


@pytest.mark.parametrize("identity", [None, Identity("amqp", "bot"), Identity("oidc", "https://sso:1")])
def test_a_wish_comes_back_from_the_record_as_it_went_in(identity: Identity | None) -> None:
    wish = Wish("anna", "lunch", identity)
    assert Wish.of_json(wish.as_json()) == wish


def test_a_wish_of_an_older_version_may_leave_out_who_asked_or_why() -> None:
    assert Wish.of_json({}) == Wish(None, None)


def test_a_kind_of_identity_of_a_later_release_proves_nothing() -> None:
    assert Wish.of_json({"identity": "kerberos:anna"}) == Wish(None, None)
