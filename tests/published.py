"""What is published is one of the contract's events: the models judge it here, in tests, and not in the program.

The program would have to publish what it found wrong all the same: an event that is kept back leaves everybody who
listens without an end (docs/decisions.md).
"""

import json
from collections.abc import Mapping
from typing import Any

from vesemir.contract.events import EVENTS, Answer, Event


def validate_event(body: Mapping[str, Any]) -> Event | Answer:
    """The event as its model. Raises ``ValueError`` (pydantic's ``ValidationError``) when it breaks the contract."""
    model = EVENTS.get(str(body.get("event")))
    if model is None:
        raise ValueError(f"{body.get('event')!r} is not an event of the contract")
    return model.model_validate_json(json.dumps(dict(body)))
