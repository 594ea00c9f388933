"""The forms of single fields, shared by every message. A description completes the sentence "must be …"."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
_VERSION = r"[A-Za-z0-9][A-Za-z0-9._+~:-]{0,127}"
_DEPLOYMENT_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

COMMON_PATTERNS = {
    "deployment_id": re.compile(_DEPLOYMENT_ID),
    "application": re.compile(_NAME),
    "environment": re.compile(_NAME),
    "version": re.compile(_VERSION),
}
"""The common fields of every event, to be matched in full."""

NAME_SAYS = "1-63 of a-z0-9_-, starting with a letter or digit"
DAY = 24 * 3600

DeploymentId = Annotated[
    str, Field(pattern=f"^{_DEPLOYMENT_ID}$", description="1-64 of A-Za-z0-9._-, starting with a letter or digit")
]
Name = Annotated[str, Field(pattern=f"^{_NAME}$", description=NAME_SAYS)]
Version = Annotated[
    str, Field(pattern=f"^{_VERSION}$", description="1-128 of A-Za-z0-9._+~:-, starting with a letter or digit")
]
Line = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Text without control characters."""
LINE_SAYS = "1-255 characters without control characters"
Claim = Annotated[str, Field(max_length=1024)]
"""What somebody says about himself or his reasons: recorded and shown, never used."""
Reason = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"\S")]
"""Where a reason is asked for: blank is none."""
REASON_SAYS = "text of 1 to 1024 characters that says why"
Seconds = Annotated[float, Field(ge=0, le=DAY, allow_inf_nan=False)]
SECONDS_SAYS = f"a number of seconds from 0 to {DAY}"


class Message(BaseModel):
    """Strict: an unknown field is an error, a boolean is no number, ``"1"`` is not 1."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_by_alias=True, validate_by_name=False)
