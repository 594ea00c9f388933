"""RabbitMQ by aio-pika: the broker as the engine knows it, on two connections that are made again when they are lost.

aio-pika's *robust* connection is not used. It restores channels and consumers behind one's back, and what this program
must know then (is the queue still there, does the broker still know the consumer, does it answer at all) cannot be told
from outside. Plain connections and one loop per connection, which declares everything anew each time, are less code and
have one behaviour for each fault.
"""

from vesemir.adapters.amqp.broker import PUBLISH_PART, AmqpBroker
from vesemir.adapters.amqp.topology import QueueTopology

__all__ = ["PUBLISH_PART", "AmqpBroker", "QueueTopology"]
