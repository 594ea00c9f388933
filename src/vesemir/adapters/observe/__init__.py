"""Logs by loguru, measures for Prometheus: the engine's ``Log`` and ``Meters``."""

from vesemir.adapters.observe.logs import engine_log, set_up_logging
from vesemir.adapters.observe.meters import PrometheusMeters
from vesemir.adapters.observe.redaction import add_secret, redact
from vesemir.adapters.observe.sampling import gc_spared, gc_watched, watch_backlog, watch_loop_lag

__all__ = [
    "PrometheusMeters",
    "add_secret",
    "engine_log",
    "gc_spared",
    "gc_watched",
    "redact",
    "set_up_logging",
    "watch_backlog",
    "watch_loop_lag",
]
