"""The Python client of services beside the loops that its users would write with pika: the same events, in one run."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pika

from clusterbus import events
from router.broker.topology import queue_of
from tests.benchmarks.bench_delivery import bare_loop, fill
from tests.benchmarks.table import Row

COUNT, STORED = 10_000, 2_000
ROUNDS = 3
PREFETCH = 100


def run(url: str) -> list[Row]:
    """Return the rows of the client against the broker at *url*, whose virtual host has to be free of our queues."""
    rates: dict[str, list[float]] = {}
    ways: dict[str, tuple[int, Callable[[str, str, int], float]]] = {
        "client": (COUNT, _client),
        "stored": (STORED, _stored),
        "select": (COUNT, bare_loop),
        "blocking": (COUNT, _blocking),
    }
    for _ in range(ROUNDS):
        for name, (count, way) in ways.items():
            fill(url, name, count)
            rates.setdefault(name, []).append(count / way(url, queue_of(name), count))
    median = {name: statistics.median(found) for name, found in rates.items()}
    ours, stored, select, blocking = (median[each] for each in ways)
    loop = "for … in channel.consume() of pika, json.loads, ack"
    return [
        Row(f"client, no-op blocks / {loop}", ours, blocking, ours / blocking, ">= 1", "events/s"),
        Row("the same / bare consume-validate-ack loop of callbacks", ours, select, ours / select, "-", "events/s"),
        Row("the same with a store / without", stored, ours, stored / ours, "-", "events/s"),
    ]


def _client(url: str, queue: str, count: int, store: Path | None = None) -> float:
    began = 0.0
    with events(queue=queue, url=url, prefetch=PREFETCH, store=store, patience=timedelta(minutes=1)) as stream:
        for number, _event in enumerate(stream, 1):
            began = began or time.perf_counter()
            if number == count:
                stream.ack()
                break
        ended = time.perf_counter()
    return ended - began


def _stored(url: str, queue: str, count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return _client(url, queue, count, Path(folder) / "finished.db")


def _blocking(url: str, queue: str, count: int) -> float:
    """Return the seconds that the loop takes which pika's own pages show."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    began = ended = 0.0
    for number, (method, _properties, body) in enumerate(channel.consume(queue), 1):
        began = began or time.perf_counter()
        json.loads(body)
        channel.basic_ack(method.delivery_tag)
        if number == count:
            ended = time.perf_counter()
            break
    connection.close()
    return ended - began
