"""HAProxy's runtime API, over a relay to the load balancer's own UNIX socket."""

from vesemir.adapters.haproxy.boxes import HaproxyBoxes

__all__ = ["HaproxyBoxes"]
