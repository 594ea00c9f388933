"""The wire format that other programs rely on: messages as pydantic models, and the schemas made from them."""

from vesemir.contract.control import ControlRequest
from vesemir.contract.parse import (
    CommonFields,
    Parsed,
    Refusal,
    parse_control,
    parse_deploy_event,
    refusal,
    stored_request,
)

__all__ = [
    "CommonFields",
    "ControlRequest",
    "Parsed",
    "Refusal",
    "parse_control",
    "parse_deploy_event",
    "refusal",
    "stored_request",
]
