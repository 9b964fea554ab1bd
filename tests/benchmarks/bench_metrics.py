"""What metrics cost: the same work with and without them, in turn in one run, and one scrape by itself.

CPU time is compared, not speed: of a few per cent, what else runs on the machine would hide all.  It can only add, so
the least of all rounds counts.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from consumers.dead_letters.keeper import Keeper
from consumers.delivery.engine import Engine
from consumers.delivery.metrics.latencies import Latencies
from consumers.programs import consumer_metrics
from consumers.store.database import Store
from consumers.subscriptions.models import Subscriptions
from router.broker.topology import PUBLISHED_AT
from router.local_broker.ports import free_ports
from router.settings.models import ConsumersSettings
from tests.benchmarks import bench_delivery, bench_router
from tests.benchmarks.table import Row
from tests.consuming import now
from tests.scraping import scrape

ROUNDS = 9
RECORDS = 4_000
EVENTS = {"noop": 4_000, "called": 4_000}
_TARGET = "<= 1.02"
_TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
"""What the router sends with every event."""

SCRAPES = 10


def run(url: str) -> list[Row]:
    """Return the rows against the broker at *url*, whose virtual host has to be free of our queues."""
    rows = []
    with bench_router.topology(url) as tap, tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(10**6))

        def routed(*, is_on: bool) -> float:
            (port,) = free_ports(1)
            more = {"CLUSTERBUS_ROUTER_METRICS": f"127.0.0.1:{port}"} if is_on else {}
            program = bench_router.router(url, Path(folder) / str(next(numbers)), more)
            return bench_router.cpu_seconds(tap, url, program, lambda: bench_router.route(tap, url, program, RECORDS))

        def scrape_all() -> None:
            for _ in range(SCRAPES):
                time.sleep(1.1)  # each page is made once a second
                scrape(address)

        rows.append(_row("router with metrics / without, CPU per record", routed, RECORDS))
        address = f"127.0.0.1:{free_ports(1)[0]}"
        program = bench_router.router(url, Path(folder) / "scraped", {"CLUSTERBUS_ROUTER_METRICS": address})
        took = bench_router.cpu_seconds(tap, url, program, scrape_all) / SCRAPES
        # At the usual interval of 15 s, 30 ms are 0.2 %.
        rows.append(Row("one scrape of the router, CPU", took * 1000, None, None, "<= 30 ms", "ms"))
    for name, count in EVENTS.items():

        def delivered(*, is_on: bool, name: str = name, count: int = count) -> float:
            stamp = {PUBLISHED_AT: str(time.time_ns() // 1000)} if is_on else {}
            bench_delivery.fill(url, name, count, {"traceparent": _TRACE, **stamp})
            return _delivery(url, name, count, is_on=is_on)

        what = {"noop": "no effect", "called": "`call` of a no-op"}[name]
        rows.append(_row(f"delivery, {what}, with metrics / without, CPU per event", delivered, count))
    return rows


def _row(name: str, measure: Callable[..., float], count: int) -> Row:
    """Return the row of *measure*, which returns CPU seconds for *count*."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(ROUNDS):
        for is_on in (True, False) if number % 2 else (False, True):
            found[is_on].append(measure(is_on=is_on))
    on, off = (1e6 * min(found[is_on]) / count for is_on in (True, False))
    return Row(name, on, off, on / off, _TARGET, "µs")


def _delivery(url: str, name: str, count: int, *, is_on: bool) -> float:
    """Return the CPU seconds of this process from the first event to the last one's outcome on disk."""
    with tempfile.TemporaryDirectory() as folder, Store(f"sqlite:///{folder}/store.db") as store:
        broker = bench_delivery.Timed(url, name="bench")
        subscriptions = Subscriptions(subscriptions=(bench_delivery.make(name),))
        latencies = Latencies() if is_on else None
        engine = Engine(broker, store, subscriptions, clock=now, serve=bench_delivery.serve_one, latencies=latencies)
        used = 0.0

        def look() -> None:
            nonlocal used
            if engine.counts[name].done >= count:
                used = time.process_time() - broker.began_cpu
                engine.stop()
            else:
                broker.later(bench_delivery.TICK, look)

        with contextlib.ExitStack() as stack:
            if latencies:
                (port,) = free_ports(1)
                found = consumer_metrics.monitoring(
                    ConsumersSettings(metrics=f"127.0.0.1:{port}"),
                    broker,
                    store,
                    engine=engine,
                    keeper=Keeper(broker, store, now),
                    latencies=latencies,
                    clock=now,
                    problem=str,
                )
                stack.enter_context(found.answering())
            engine.start()
            look()
            broker.run()
    return used
