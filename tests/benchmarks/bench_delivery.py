"""Deliveries beside a bare pika loop that consumes, validates and acknowledges: the same events, in one run."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from types import MappingProxyType

import pika
from pika.adapters.select_connection import SelectConnection

from consumers.delivery.active_subscription import ActiveSubscription, Logged, serve
from consumers.delivery.engine import Engine
from consumers.store.database import Store
from consumers.subscriptions.models import Subscription, Subscriptions
from consumers.verbs.call.verb import CallVerb
from consumers.verbs.log.log_handler import LogHandler
from consumers.verbs.log.verb import LogVerb
from router.broker.client import Rabbit
from router.broker.interface import Message
from router.broker.topology import base, queue_of, subscription
from router.model.events import Event
from tests.benchmarks.table import Row
from tests.consuming import make_event, make_subscription, now

COUNTS = {"peer": 10_000, "noop": 10_000, "audit": 10_000}
CALLED = 10_000
PEERS = ("faststream", "celery", "dramatiq")
PEER_COUNT = 5_000

ROUNDS = 3
PREFETCH = 500
TICK = timedelta(milliseconds=5)


def run(url: str) -> list[Row]:
    """Return the rows of delivery against the broker at *url*, whose virtual host has to be free of our queues."""
    rates: dict[str, list[float]] = {name: [] for name in (*COUNTS, "called", *PEERS)}
    for _ in range(ROUNDS):
        for name, count in COUNTS.items():
            fill(url, name, count)
            seconds = bare_loop(url, queue_of(name), count) if name == "peer" else _engine(url, name, count)
            rates[name].append(count / seconds)
        fill(url, "called", CALLED)
        rates["called"].append(CALLED / _engine(url, "called", CALLED))
        for name in PEERS:
            rates[name].append(PEER_COUNT / _peer(url, name, PEER_COUNT))
    median = {name: statistics.median(found) for name, found in rates.items()}
    peer, noop, audit, called = (median[name] for name in (*COUNTS, "called"))
    best = max(PEERS, key=lambda name: median[name])
    return [
        Row("delivery, no effect / bare consume-validate-ack loop", noop, peer, noop / peer, ">= 0.4", "events/s"),
        Row("delivery, audit with its chain / the same", audit, peer, audit / peer, "-", "events/s"),
        Row("delivery, `call` of a no-op / the same", called, peer, called / peer, ">= 0.4", "events/s"),
        *(
            Row(
                f"delivery, `call` of a no-op, recorded / {name}",
                called,
                median[name],
                called / median[name],
                ">= 1.5" if name == best else "-",
                "events/s",
            )
            for name in PEERS
        ),
    ]


def _peer(url: str, name: str, count: int) -> float:
    """Return the seconds that a peer takes, in a process of its own."""
    words = [sys.executable, "-m", "tests.benchmarks.peers", name, url, str(count)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    said = [line for line in ended.stdout.splitlines() if line.startswith("seconds ")]
    if not said:
        raise RuntimeError(f"{name} did not end well; `make bench` installs it:\n{ended.stderr[-2000:]}")
    return float(said[-1].split()[1])


class Timed(Rabbit):
    """A line to the broker that notes when its first message came."""

    began = began_cpu = 0.0

    def consume(self, queue, receive, *, prefetch, offset=None):
        def received(arrival):
            if not self.began:
                self.began, self.began_cpu = time.perf_counter(), time.process_time()
            receive(arrival)

        super().consume(queue, received, prefetch=prefetch, offset=offset)


def noop(fsName):  # noqa: N803 - the variable's own name
    """Do nothing, with one variable of the event."""


def serve_one(subscription, surroundings):
    if subscription.name == "called":
        return serve(subscription, surroundings)
    # What has no effect writes nothing but that the event was delivered.
    verb = LogVerb.model_construct(file=None, store=subscription.name == "audit")
    return ActiveSubscription(subscription, Logged(LogHandler(verb)))


def fill(url: str, name: str, count: int, headers: Mapping[str, str] = MappingProxyType({})) -> None:
    """Put *count* events with *headers* into the queue of subscription *name*, which is bound to nothing."""
    broker = Rabbit(url, name="bench")
    broker.declare(base() + subscription(name, ()))
    unsettled = set(range(count))

    def settled(number, _settlement):
        unsettled.remove(number)
        if not unsettled:
            broker.stop()

    for number in range(count):
        event = make_event(blockUsage=number, filesetName="projects", note="x" * 300)
        message = Message("", queue_of(name), event.to_json(), event.id, event.type, headers=headers)
        broker.publish(message, partial(settled, number))
    broker.run()


def bare_loop(url: str, queue: str, count: int) -> float:
    """Return the seconds from the first to the last of *count* events, in the plainest loop that pika can be."""
    began = ended = 0.0
    seen = 0

    def received(channel, method, _properties, body):
        nonlocal began, ended, seen
        began = began or time.perf_counter()
        Event.from_json(body)
        channel.basic_ack(method.delivery_tag)
        seen += 1
        if seen == count:
            ended = time.perf_counter()
            connection.close()

    def opened(channel):
        channel.basic_qos(prefetch_count=PREFETCH, callback=lambda _: channel.basic_consume(queue, received))

    connection = SelectConnection(
        pika.URLParameters(url),
        on_open_callback=lambda connection: connection.channel(on_open_callback=opened),
        on_close_callback=lambda connection, _: connection.ioloop.stop(),
    )
    connection.ioloop.start()
    return ended - began


def make(name: str) -> Subscription:
    verb = CallVerb(function="tests.benchmarks.bench_delivery:noop") if name == "called" else None
    return make_subscription(name, verb, patterns=())


def _engine(url: str, name: str, count: int) -> float:
    """Return the seconds from the first event to the last one's outcome on disk, in the engine."""
    with tempfile.TemporaryDirectory() as folder:
        broker, store = Timed(url, name="bench"), Store(f"sqlite:///{folder}/store.db")
        subscriptions = Subscriptions(subscriptions=(make(name),))
        engine = Engine(broker, store, subscriptions, clock=now, serve=serve_one)
        ended = 0.0

        def look():
            nonlocal ended
            if engine.counts[name].done >= count:  # more, where the broker delivers one again
                ended = time.perf_counter()
                engine.stop()
            else:
                broker.later(TICK, look)

        engine.start()
        look()
        broker.run()
        store.close()
    return ended - broker.began
