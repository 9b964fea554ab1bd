"""The relay beside a bare pika loop: the same messages, the same window, the same exchange and queue, in one run."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from router.broker.topology import INGRESS
from shim import capture
from tests.benchmarks.table import Row
from tests.shim_relay import RelayProcess, ingress, make_spool

RECORDS = 6_000
ROUNDS = 5
WINDOW = 250


def run(url: str) -> list[Row]:
    """Return the relay's row against the broker at *url*, whose virtual host has to be free of our queues."""
    with ingress(url) as tap, tempfile.TemporaryDirectory() as folder:
        ours, peers, memory = [], [], 0
        for number in range(ROUNDS):
            bodies = _bodies()
            peers.append(len(bodies) / _bare_loop(url, bodies))
            tap.channel.queue_purge(INGRESS)
            seconds, memory = _relay(url, Path(folder) / str(number), bodies)
            ours.append(len(bodies) / seconds)
            tap.channel.queue_purge(INGRESS)
        idle = _idle(url, Path(folder) / "idle")
    # The best of each: whatever else the machine does makes both slower, never quicker.
    rate, peer = max(ours), max(peers)
    return [
        Row("relay / bare pipelined pika loop", rate, peer, rate / peer, ">= 0.8", "records/s"),
        Row("relay, highest memory", memory / 1024, None, None, "<= 30 MiB", "MiB"),
        Row("relay, idle for 3 s", float(idle), None, None, "<= 1 ticks", "ticks"),
    ]


def _bodies() -> list[bytes]:
    """Return the records as their lines, about 1 KB each."""
    filler = [b"--note", b"x" * 800]
    return [capture.encode(capture.record_now("gpfs", "softQuotaExceeded", filler, "nsd01")) for _ in range(RECORDS)]


def _relay(url: str, folder: Path, bodies: list[bytes]) -> tuple[float, int]:
    """Return the seconds from the relay's first record to the last one's removal, and its memory in KiB."""
    spool = make_spool(folder)
    holding = folder / "held"
    holding.mkdir()
    for body in bodies:
        record_id = body[13:39].decode()
        (holding / f"{time.time_ns():019d}.{record_id}.json").write_bytes(body)
    with RelayProcess(spool, url) as relay:
        relay.wait_until_said("broker connected")
        # Both have their records at hand when the clock starts: the filling of the spool is capture's work.
        relay.process.send_signal(signal.SIGSTOP)
        for path in sorted(holding.iterdir()):
            path.rename(spool / "new" / path.name)
        started = time.perf_counter()
        relay.process.send_signal(signal.SIGCONT)
        relay.wait_until_empty(120)
        return time.perf_counter() - started, relay.memory


def _idle(url: str, folder: Path) -> int:
    """Return the clock ticks of processor time that an idle relay takes in three seconds."""
    with RelayProcess(make_spool(folder), url) as relay:
        relay.wait_until_said("broker connected")
        before = relay.ticks
        time.sleep(3)  # what is measured is that nothing happens
        return relay.ticks - before


def _bare_loop(url: str, bodies: list[bytes]) -> float:
    """Return the seconds that the plainest pipelined publisher needs, from its first record to the last confirm."""
    command = [sys.executable, str(Path(__file__).with_name("bare_loop.py")), url, INGRESS, str(WINDOW)]
    done = subprocess.run(command, input=b"".join(bodies), stdout=subprocess.PIPE, check=True, timeout=120)
    return float(done.stdout)
