"""The router beside a bare pika loop: the same records out of the same queue into the same exchange, in one run."""

import signal
import statistics
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from router.broker.topology import EVENTS, INGRESS, base
from shim import capture
from tests.benchmarks.bare_loop import BareLoop
from tests.benchmarks.table import Row
from tests.flow import Running
from tests.rabbit import Tap
from tests.routing import declare
from tests.waiting import wait_for

RECORDS = 5_000
ROUNDS = 3
PREFETCH = 500
PATIENCE = 120.0
_SEEN = "seen-by-the-benchmark"

_QUOTA = (
    "--fsName gpfs1 --filesetName projects --quotaID 0 --quotaType FILESET --quotaOwnerName Ann Lee"
    " --blockUsage 1048576 --blockQuota 1000000 --blockLimit UNDEFINED"
    " --filesUsage 120000 --filesQuota 0 --filesLimit 0"
)


def run(url: str) -> list[Row]:
    """Return the router's row against the broker at *url*, whose virtual host has to be free of our queues."""
    ours, peers = [], []
    with topology(url) as tap, tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            peers.append(RECORDS / _seconds(tap, url, _bare(url, Path(folder) / f"bare{number}")))
            ours.append(RECORDS / _seconds(tap, url, router(url, Path(folder) / f"router{number}")))
    rate, peer = statistics.median(ours), statistics.median(peers)
    return [Row("router / bare pika consume-publish-confirm-ack loop", rate, peer, rate / peer, ">= 0.5", "records/s")]


@contextmanager
def topology(url: str) -> Iterator[Tap]:
    wanted, tap = base(), Tap(url)
    declare(tap, wanted)
    # Exclusive, so that counting costs the broker no disk; both bring their events into it.
    tap.channel.queue_declare(_SEEN, exclusive=True)
    tap.channel.queue_bind(_SEEN, EVENTS, "gpfs.#")
    try:
        yield tap
    finally:
        for queue in wanted.queues:
            tap.channel.queue_delete(queue.name)
        for exchange in wanted.exchanges:
            tap.channel.exchange_delete(exchange.name)
        tap.close()


def _bare(url: str, folder: Path) -> Running:
    folder.mkdir()
    script = Path(__file__).with_name("bare_router.py")
    return Running("bare", [sys.executable, str(script), url, INGRESS, EVENTS, str(PREFETCH)], {}, folder)


def router(url: str, folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> Running:
    """Return the router, not yet started; *more* is added to its environment."""
    folder.mkdir()
    environment = {
        "CLUSTERBUS_BROKER": url,
        "CLUSTERBUS_ROUTER_STATE": f"sqlite:///{folder / 'router.db'}",
        "CLUSTERBUS_ROUTER_TRUSTED_USERS": urllib.parse.urlsplit(url).username or "guest",
        **more,
    }
    return Running("router", [sys.executable, "-m", "consumers.cli.main", "router"], environment, folder)


def _seconds(tap: Tap, url: str, program: Running) -> float:
    """Return how long *program* takes from the first of the records, which all wait for it, to the last event."""
    with _running(tap, url, program):
        return route(tap, url, program, RECORDS)


def cpu_seconds(tap: Tap, url: str, program: Running, work: Callable[[], object]) -> float:
    """Return the CPU time that *program*, which is connected and warm, takes while *work* runs."""
    with _running(tap, url, program):
        before = _used(program)
        work()
        return _used(program) - before


def _used(program: Running) -> float:
    """Return the CPU seconds of all its threads; /proc/PID/stat has only hundredths."""
    assert program.process is not None
    threads = Path(f"/proc/{program.process.pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


def route(tap: Tap, url: str, program: Running, count: int) -> float:
    """Have *program* route *count* records, all of which are there before it may begin; return the seconds."""
    assert program.process is not None
    program.process.send_signal(signal.SIGSTOP)
    _put(url, count)
    started = time.perf_counter()
    program.process.send_signal(signal.SIGCONT)
    _wait_for_events(tap, count, program)
    return time.perf_counter() - started


@contextmanager
def _running(tap: Tap, url: str, program: Running) -> Iterator[None]:
    """Run *program* until the block ends; it has routed a record before."""
    program.start()
    try:
        _put(url, 1)
        _wait_for_events(tap, 1, program)
        yield
    finally:
        program.kill()
        wait_for(lambda: not tap.consumers(INGRESS), PATIENCE, "the program's connections are gone")
        tap.channel.queue_purge(INGRESS)


def _put(url: str, count: int) -> None:
    arguments = [each.encode() for each in _QUOTA.split()]
    bodies = [capture.encode(capture.record_now("gpfs", "softQuotaExceeded", arguments, "nsd01")) for _ in range(count)]
    BareLoop(url, INGRESS, 250, bodies).run()


def _wait_for_events(tap: Tap, count: int, program: Running) -> None:
    def there() -> bool:
        assert program.process is None or program.process.poll() is None, program.words()
        return tap.count(_SEEN) >= count

    wait_for(there, PATIENCE, f"{count} events of the {program.name}")
    tap.channel.queue_purge(_SEEN)
