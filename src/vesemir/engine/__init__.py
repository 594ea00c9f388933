"""The use cases, on ports: how a deploy event becomes a release on its hosts. Each room below is one part of that way.

``messages`` judges an event, stores it with its reply address and acknowledges it; it also publishes, in order, every
event that the record holds. ``deployment`` claims a stored deployment under a lease (its worker) and runs it to its one
result: resolve the hosts, plan the batches, go forward, go back after a failure if that was asked for, close.
``target`` does one host of it: connect, out of traffic, the recipe's steps, back into traffic, each recorded together
with the event that tells of it. ``traffic`` knows HAProxy's safe order. ``ownership`` decides who may work on a
deployment: leases, writes that only the owner can make, and the one signal that stops the work early.
``upkeep`` is what an instance does besides: health, retention, servers that were left drained. ``ports`` has all that
is asked of the outside; ``limits`` and ``failpoints`` stand below everything.
"""
