"""Whether PostgreSQL would take a value: text without NUL and half characters, JSON without what is not a number."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence

from vesemir.domain.failure import FailedError


def assert_storable(value: object, place: str = "") -> None:
    """Everything in ``value``, however deep. ``place`` says where it is."""
    match value:
        case str():
            assert "\x00" not in value, f"{place} holds a NUL"
            value.encode()  # raises for half of a surrogate pair
        case float():
            assert math.isfinite(value), f"{place} is {value}"
        case Mapping():
            for name, member in value.items():
                assert_storable(name, f"a name in {place}")
                assert_storable(member, f"{place}.{name}")
        case bytes() | bytearray():
            pass
        case Sequence():
            for index, member in enumerate(value):
                assert_storable(member, f"{place}[{index}]")
        case _ if dataclasses.is_dataclass(value):
            for each in dataclasses.fields(value):
                assert_storable(getattr(value, each.name), f"{place}.{each.name}")


def assert_json(value: object) -> None:
    """As ``jsonb`` takes it."""
    assert_storable(json.loads(json.dumps(value, allow_nan=False)))


LONGEST_MESSAGE = 20_000
"""Characters of a failure's message: it goes into the record, into events and onto terminals."""


def assert_failure(error: FailedError) -> None:
    """Its message can be kept and shown."""
    assert_storable(error.failure.message)
    assert len(error.failure.message) < LONGEST_MESSAGE
