"""The router's peer: the plainest loop that pika can be that consumes, publishes with confirms, then acknowledges.

It publishes each message as it came, and knows nothing of what it means.  Arguments are the URL, the queue to consume,
the exchange to publish to and the prefetch; it runs until it is killed.
"""

import itertools
import sys

import pika
from pika.adapters.select_connection import SelectConnection


class BareRouter:
    """Brings what is in *queue* to *exchange*, at most *prefetch* at once."""

    def __init__(self, url: str, queue: str, exchange: str, prefetch: int) -> None:
        """Connect to *url*; nothing happens before `run`."""
        self._queue, self._exchange, self._prefetch = queue, exchange, prefetch
        self._sent = 0
        self._owed: dict[int, int] = {}
        self._connection = SelectConnection(
            pika.URLParameters(url), on_open_callback=lambda one: one.channel(on_open_callback=self._opened)
        )

    def run(self) -> None:
        """Work until killed."""
        self._connection.ioloop.start()

    def _opened(self, channel: pika.channel.Channel) -> None:
        self._channel = channel
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._limit())

    def _limit(self) -> None:
        self._channel.basic_qos(prefetch_count=self._prefetch, callback=lambda _: self._consume())

    def _consume(self) -> None:
        self._channel.basic_consume(self._queue, self._received)

    def _received(
        self,
        channel: pika.channel.Channel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self._sent += 1
        self._owed[self._sent] = method.delivery_tag
        ours = pika.BasicProperties(
            content_type="application/cloudevents+json",
            delivery_mode=2,
            message_id=properties.message_id,
            type="gpfs.softQuotaExceeded",
            headers={"traceparent": "00-019aa02d8283f23fa35c9d9178971f0b-a35c9d9178971f0b-01"},
        )
        channel.basic_publish(self._exchange, method.routing_key, body, ours, mandatory=True)

    def _confirmed(self, frame: pika.frame.Method[pika.spec.Basic.Ack]) -> None:
        tag = frame.method.delivery_tag
        covered = itertools.takewhile(lambda one: one <= tag, self._owed)
        for each in list(covered) if frame.method.multiple else [tag]:
            self._channel.basic_ack(self._owed.pop(each))


if __name__ == "__main__":
    BareRouter(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])).run()
