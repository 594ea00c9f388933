"""Whatever aio-pika and aiormq raise when a connection goes, the engine hears that the broker is away."""

import pytest

from vesemir.adapters.amqp.connection import away_on_loss
from vesemir.engine.ports.broker import BrokerAwayError


def test_a_bare_exception_of_aiormq_is_a_loss() -> None:
    """Its ``FutureStore`` rejects confirms with ``Exception`` when a connection closes without a reason."""
    with pytest.raises(BrokerAwayError, match="publishing x"), away_on_loss("publishing x"):
        raise Exception  # noqa: TRY002 - exactly that


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(ZeroDivisionError), away_on_loss("publishing x"):
        raise ZeroDivisionError
