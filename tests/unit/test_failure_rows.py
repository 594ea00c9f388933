"""Failures in the record, as an instance reads them that does not know all codes."""

from vesemir.adapters.postgres.rows import failure_json, failure_of
from vesemir.domain.failure import Failure, FailureCode


def test_every_code_is_read_as_it_was_written() -> None:
    for code in FailureCode:
        failure = Failure(code, "why")
        assert failure_of(failure_json(failure)) == failure
    assert failure_of(None) is None


def test_a_code_of_a_later_release_breaks_no_takeover() -> None:
    read = failure_of({"code": "ssh.tomorrow", "message": "why"})
    assert read == Failure(FailureCode.INTERNAL_ERROR, "ssh.tomorrow: why")
