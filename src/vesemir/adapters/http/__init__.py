"""The HTTP interface (contract section 4): health for load balancers, metrics, and the record to read."""

from vesemir.adapters.http.app import http_app
from vesemir.adapters.http.limits import HttpLimits
from vesemir.adapters.http.serving import serving
from vesemir.adapters.http.tls import TlsFiles

__all__ = ["HttpLimits", "TlsFiles", "http_app", "serving"]
