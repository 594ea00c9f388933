"""What is sealed is opened by the same key for the same deployment, and by nobody else."""

import pytest
from pydantic import SecretStr

from vesemir.adapters.record_seal import RecordSeal
from vesemir.engine.ownership.secret_parameters import UnsealableError

OLD, NEW = "o" * 32, "n" * 44
VALUES = {"key": "s3cret\nlines ü", "port": 5432, "tls": True}


def test_there_and_back() -> None:
    seal = RecordSeal([OLD])
    sealed = seal.close("d1", VALUES)
    assert seal.open("d1", sealed) == VALUES
    assert b"s3cret" not in sealed
    assert seal.close("d1", VALUES) != sealed, "nobody sees that two deployments have the same secret"


def test_a_key_is_changed_while_deployments_are_open() -> None:
    both = RecordSeal.of(SecretStr(f"{NEW}\n{OLD}\n"))
    assert both is not None
    assert both.open("d1", RecordSeal([OLD]).close("d1", VALUES)) == VALUES
    assert RecordSeal([NEW]).open("d1", both.close("d1", VALUES)) == VALUES


@pytest.mark.parametrize(
    ("sealed", "reason"),
    [
        (RecordSeal([NEW]).close("d1", VALUES), "a key that is not in secrets.key_file"),
        (RecordSeal([OLD]).close("d2", VALUES), "the row was changed"),
        (RecordSeal([OLD]).close("d1", VALUES)[:-1] + b"x", "the row was changed"),
        (b"", "a key that is not in"),
        (b"\x02" + RecordSeal([OLD]).close("d1", VALUES)[1:], "a key that is not in"),
    ],
    ids=["another key", "another deployment", "changed", "empty", "another form"],
)
def test_anything_else_is_not_opened(sealed: bytes, reason: str) -> None:
    with pytest.raises(UnsealableError, match=reason):
        RecordSeal([OLD]).open("d1", sealed)


def test_without_a_key_there_is_no_seal() -> None:
    assert RecordSeal.of(None) is None
