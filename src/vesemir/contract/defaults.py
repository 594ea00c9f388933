"""What a request means where it is silent, as it was when it was accepted.

A release may change a default. A deployment that an instance of the release before accepted keeps the default of then:
so the defaults that changed are recorded beside the request, never in it, and a deployment that has none recorded is an
older one (architecture.md, "Old and new instances together").
"""

from collections.abc import Mapping
from typing import Any

from vesemir.contract.deploy import MIN_HEALTHY_SECONDS

AUTO = "auto"
"""``min_available``: 1, but 0 for a backend of one server. A model that has no value there means it."""

DEFAULTS: Mapping[str, Any] = {"min_available": AUTO, "min_healthy_seconds": MIN_HEALTHY_SECONDS}
"""Of ``rollout``, as this release records them with each deployment that it accepts."""

_BEFORE: Mapping[str, Any] = {"min_available": 0, "min_healthy_seconds": 0}
"""Of release 0.1, which recorded none."""


def with_defaults(raw: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> dict[str, Any]:
    """The body with the recorded defaults written where it is silent. ``recorded`` is None for an older deployment."""
    rollout = raw.get("rollout") or {}
    known = {**_BEFORE, **({} if recorded is None else recorded)}
    filled = {name: value for name, value in known.items() if rollout.get(name) is None and value != AUTO}
    return {**raw, "rollout": {**rollout, **filled}}
