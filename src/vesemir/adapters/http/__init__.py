"""The HTTP interface (contract section 4): health for load balancers, metrics, and the record to read."""

from vesemir.adapters.http.app import http_app
from vesemir.adapters.http.limits import HttpLimits
from vesemir.adapters.http.serving import serving

__all__ = ["HttpLimits", "http_app", "serving"]
