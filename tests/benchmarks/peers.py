# ruff: noqa: PLC0415 - each peer is imported by its own function, in a process of its own
"""One peer as a program: `python -m tests.benchmarks.peers NAME URL COUNT` fills a queue, works it off, prints seconds.

Each has a handler that does nothing, acknowledges after it, and takes as many messages at a time as helps it most.
Printed is the time from its first call to its last.
"""

import asyncio
import json
import os
import sys
import threading
import time
from typing import Any

import pika

from tests.consuming import make_event

PREFETCH = 500


class Stopwatch:
    """Counts calls; after the last it prints the seconds since the first, and ends the process."""

    def __init__(self, count: int) -> None:
        self._left, self._began, self._lock = count, 0.0, threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._began = self._began or time.perf_counter()
            self._left -= 1
            if self._left == 0:
                # Without the peer's own goodbye, which may take seconds: what it did is measured.
                # To the descriptor, since a peer may have taken the stream.
                os.write(1, f"\nseconds {time.perf_counter() - self._began}\n".encode())
                os._exit(0)


def body(number: int) -> bytes:
    """Return an event as our own benchmark delivers it."""
    return make_event(blockUsage=number, filesetName="projects", note="x" * 300).to_json()


def faststream(url: str, count: int) -> None:
    """FastStream over aio-pika: a quorum queue, acknowledged after the handler."""
    from faststream import AckPolicy, FastStream
    from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

    queue = RabbitQueue("faststream", queue_type=QueueType.QUORUM, durable=True)
    _fill(url, "faststream", count, {"x-queue-type": "quorum"})
    broker = RabbitBroker(url, default_channel=Channel(prefetch_count=PREFETCH), logger=None)
    done = Stopwatch(count)

    @broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR)
    async def noop(event: dict[str, Any]) -> None:
        done()

    asyncio.run(FastStream(broker, logger=None).run())


def celery(url: str, count: int) -> None:
    """Celery: late acknowledgements, one process, which is its quickest way for what does nothing."""
    from celery import Celery

    app = Celery("peer", broker=url)
    app.conf.update(
        task_acks_late=True,
        worker_prefetch_multiplier=PREFETCH,
        task_ignore_result=True,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        task_default_queue="celery",
        broker_connection_retry_on_startup=False,
    )
    done = Stopwatch(count)

    @app.task(name="noop")
    def noop(event: dict[str, Any]) -> None:
        done()

    with app.producer_pool.acquire() as producer:
        for number in range(count):
            noop.apply_async((json.loads(body(number)),), producer=producer)
    app.worker_main(
        ["worker", "--pool=solo", "--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )


def dramatiq(url: str, count: int) -> None:
    """Dramatiq: acknowledges after the actor; two worker threads were its quickest here."""
    import dramatiq as library
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url=url, middleware=[])
    library.set_broker(broker)
    done = Stopwatch(count)

    @library.actor(queue_name="dramatiq")
    def noop(event: dict[str, Any]) -> None:
        done()

    for number in range(count):
        noop.send(json.loads(body(number)))
    library.Worker(broker, worker_threads=2).start()
    threading.Event().wait()


def _fill(url: str, queue: str, count: int, arguments: dict[str, Any]) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, arguments=arguments)
    channel.tx_select()
    for number in range(count):
        properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        channel.basic_publish("", queue, body(number), properties)
    channel.tx_commit()
    connection.close()


PEERS = {"faststream": faststream, "celery": celery, "dramatiq": dramatiq}

if __name__ == "__main__":
    PEERS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
