"""The relay's peer: the plainest pipelined publisher that pika can be, as a process of its own.

Publishes the lines of standard input, and prints the seconds from the first of them to the last confirm.
"""

import itertools
import signal
import sys
import time

import pika
from pika.adapters.select_connection import SelectConnection


class BareLoop:
    """Publishes *bodies*, at most *window* unconfirmed, and notes when it began and when it ended."""

    def __init__(self, url: str, exchange: str, window: int, bodies: list[bytes]) -> None:
        """Connect to *url*; nothing happens before `run`."""
        self._exchange, self._window, self._bodies = exchange, window, bodies
        self._sent = 0
        self._unconfirmed: dict[int, None] = {}
        self.began = self.ended = 0.0
        self._user = pika.URLParameters(url).credentials.username
        self._connection = SelectConnection(
            pika.URLParameters(url),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_close_callback=lambda connection, _: connection.ioloop.stop(),
        )

    def run(self) -> float:
        """Return the seconds that it took."""
        self._connection.ioloop.start()
        return self.ended - self.began

    def _opened(self, channel: pika.channel.Channel) -> None:
        self._channel = channel
        channel.confirm_delivery(self._confirmed, callback=self._begin)

    def _begin(self, _: object) -> None:
        self.began = time.perf_counter()
        self._pump()

    def _pump(self) -> None:
        while self._sent < len(self._bodies) and len(self._unconfirmed) < self._window:
            self._sent += 1
            self._unconfirmed[self._sent] = None
            self._channel.basic_publish(
                self._exchange,
                "gpfs.test.softQuotaExceeded.nsd01",
                self._bodies[self._sent - 1],
                pika.BasicProperties(
                    content_type="application/json",
                    delivery_mode=2,
                    message_id=f"{self._sent:026d}",
                    user_id=self._user,
                    app_id="bare-loop",
                    type="softQuotaExceeded",
                    headers={"v": 1, "epoch": "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB", "sequence": self._sent},
                ),
                mandatory=True,
            )

    def _confirmed(self, frame: pika.frame.Method[pika.spec.Basic.Ack]) -> None:
        tag = frame.method.delivery_tag
        covered = itertools.takewhile(lambda one: one <= tag, self._unconfirmed)
        for each in list(covered) if frame.method.multiple else [tag]:
            del self._unconfirmed[each]
        if not self._unconfirmed and self._sent == len(self._bodies):
            self.ended = time.perf_counter()
            self._connection.close()
        else:
            self._pump()


def main() -> None:
    """Be the peer: arguments are URL, exchange and window."""
    signal.alarm(100)
    loop = BareLoop(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.stdin.buffer.read().splitlines(keepends=True))
    sys.stdout.write(f"{loop.run()}\n")


if __name__ == "__main__":
    main()
