"""A small, always equal part of ``tox -e fuzz``: deploy and control messages."""

from tests.fuzz.area_messages import CONTROL, DEPLOYS
from tests.fuzz.examine import examine


def test_a_deploy_message_has_one_verdict_whatever_it_is() -> None:
    examine(DEPLOYS, examples=150)


def test_a_control_message_has_one_answer_whatever_it_is() -> None:
    examine(CONTROL, examples=150)
