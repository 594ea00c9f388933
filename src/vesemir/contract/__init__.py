"""The wire format that other programs rely on: messages as pydantic models, and the schemas made from them."""

from vesemir.contract.control import ControlRequest, LaneRequest
from vesemir.contract.defaults import DEFAULTS
from vesemir.contract.parse import (
    CommonFields,
    Parsed,
    Refusal,
    internal_refusal,
    parse_control,
    parse_deploy_event,
    refusal,
    reply_to_problem,
    stored_request,
)
from vesemir.contract.properties import MessageProperties

__all__ = [
    "DEFAULTS",
    "CommonFields",
    "ControlRequest",
    "LaneRequest",
    "MessageProperties",
    "Parsed",
    "Refusal",
    "internal_refusal",
    "parse_control",
    "parse_deploy_event",
    "refusal",
    "reply_to_problem",
    "stored_request",
]
