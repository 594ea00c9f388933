"""The statements of ``sql/queries`` as aiosql reads them."""

import logging

import pytest

from vesemir.adapters.postgres.statements import statements


def test_reading_them_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """aiosql warns of a statement that changes rows and has no ``!`` after its name: on the stderr of every command."""
    with caplog.at_level(logging.WARNING):
        assert statements.__wrapped__().prune_audit.name == "prune_audit"
    assert caplog.messages == []
