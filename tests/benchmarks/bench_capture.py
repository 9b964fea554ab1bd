"""Capture beside an interpreter that does nothing, and beside a publisher that is started for one event."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pika

from shim.capture import encode, record_now
from tests.benchmarks.table import Row
from tests.machine import CAPTURE, PYTHON, command_of, make_spool

EVENT = ("gpfs", "softQuotaExceeded", "--fsName", "gpfs1", "--filesetName", "projects", "--blockUsage", "1048576")
ALONE = ("unshare", "--pid", "--fork", "--mount-proc")
ROUNDS = 100
BACKLOG = 20_000
AT_ONCE = 500
DEADLINE = 5.0
IN_MEMORY = "/dev/shm"
MEMORY = 12.0

# Runs as little as can be: a process counts as its own the memory of the one that started it.  It is process 1 of a
# namespace, as systemd is on a node, and reaps what others leave: before the next command starts, which would be slower
# while they end.  It sleeps before each command, because the one after a capture would start later, and colder.
_LAUNCHER = """
import posix, sys, time
with open("/proc/self/comm", "w") as file: file.write("systemd")
at_once, rounds = int(sys.argv[1]), int(sys.argv[2])
commands = []
for word in sys.argv[3:]:
    if word == "AND": commands.append([])
    else: commands[-1].append(word)
running, found = {}, []
for _ in range(rounds):
    for number, command in enumerate(commands):
        time.sleep(0.003)
        for _ in range(at_once):
            began = time.perf_counter()
            running[posix.posix_spawn(command[0], command, {})] = number, began
        while running:
            pid, status, usage = posix.wait4(-1, 0)
            if pid not in running: continue
            number, began = running.pop(pid)
            found.append([number, time.perf_counter() - began, usage.ru_maxrss, status])
        try:
            while True: posix.wait4(-1, 0)
        except ChildProcessError: pass
print(found)
"""
_PUBLISHER = """
import sys, pika
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.confirm_delivery()
channel.basic_publish("", sys.argv[2], sys.argv[3].encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)
connection.close()
"""


def run() -> list[Row]:
    """Return capture's rows; the one beside a publisher only where CLUSTERBUS_BENCH_BROKER names a broker."""
    with tempfile.TemporaryDirectory() as folder:
        spool = make_spool(Path(folder) / "spool")
        capture = [*_installed(Path(folder), spool), *EVENT[1:]]
        rows = [_beside_nothing("capture-gpfs / python3 -IS -c pass", capture)]
        memory = statistics.median(kilobytes for _, _, kilobytes in _measure([capture], 10)) / 1024
        rows += _publisher(capture)
        rows += _at_once(spool, capture)
        for number in range(BACKLOG):
            (spool / "new" / f"{number:019d}.json").touch()
        rows.insert(1, _beside_nothing(f"the same, {BACKLOG:,} records waiting", capture))
        script = command_of("--spool", str(spool), *EVENT)
        rows.insert(2, _beside_nothing("capture.py as a script, compiled at each start", script, ""))
        rows.insert(3, Row("capture, memory / 12 MiB", memory, MEMORY, memory / MEMORY, "<= 1", "MiB"))
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        # Without the two syncs, which cost what the disk takes for them: half a millisecond here.
        capture = [*_installed(Path(folder), make_spool(Path(folder) / "spool")), *EVENT[1:]]
        rows.insert(1, _beside_nothing("the same, spool in memory", capture))
    return rows


def _installed(folder: Path, spool: Path) -> list[str]:
    """Return the command that GPFS's callbacks run, installed in *folder* for *spool*."""
    place = folder / "libexec"
    place.mkdir()
    shutil.copy(CAPTURE, place / "capture.py")
    entry = place / "capture-gpfs"
    script = CAPTURE.with_name("capture_gpfs.py").read_text()
    entry.write_text(script.replace("\nOPTIONS = []", f"\nOPTIONS = {['--spool', str(spool)]!r}"))
    return [PYTHON, "-IS", str(entry)]


def _measure(commands: Sequence[Sequence[str]], rounds: int, at_once: int = 1) -> list[tuple[int, float, int]]:
    """Run *commands* in turn, *rounds* times; return for each process which it was, its seconds and its KiB at most."""
    words = [word for command in commands for word in ("AND", *command)]
    launcher = [*ALONE, PYTHON, "-IS", "-c", _LAUNCHER, str(at_once), str(rounds), *words]
    ended = subprocess.run(launcher, stdout=subprocess.PIPE, check=True)
    found = [
        (number, seconds, kilobytes) for number, seconds, kilobytes, status in json.loads(ended.stdout) if not status
    ]
    if len(found) != rounds * at_once * len(commands):
        raise RuntimeError(f"some of {commands} did not exit 0")
    return found


def _medians(commands: Sequence[Sequence[str]], rounds: int) -> list[float]:
    """Return the median milliseconds of each of *commands*, of which the first two rounds do not count."""
    found = _measure(commands, rounds + 2)[2 * len(commands) :]
    return [
        statistics.median(seconds for which, seconds, _ in found if which == number) * 1000
        for number in range(len(commands))
    ]


def _beside_nothing(name: str, capture: Sequence[str], target: str = "<= 1.2") -> Row:
    ours, peer = _medians([capture, [PYTHON, "-IS", "-c", "pass"]], ROUNDS)
    return Row(name, ours, peer, ours / peer, target, "ms")


def _publisher(capture: Sequence[str]) -> list[Row]:
    """Return the row beside a one-shot publisher, that starts, connects, publishes one record and has it confirmed."""
    url = os.environ.get("CLUSTERBUS_BENCH_BROKER")
    if not url:
        return []
    name = f"bench-{uuid4().hex[:8]}"
    record = encode(record_now("gpfs", "softQuotaExceeded", [word.encode() for word in EVENT[2:]])).decode()
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(name, durable=True)
    try:
        ours, peer = _medians([capture, [sys.executable, "-c", _PUBLISHER, url, name, record]], 20)
    finally:
        channel.queue_delete(name)
        connection.close()
    return [Row("capture / one-shot pika publisher", ours, peer, ours / peer, "<= 0.167", "ms")]


def _at_once(spool: Path, capture: Sequence[str]) -> list[Row]:
    """Return how many of many captures at once were stored, and what the slowest took of its deadline."""
    for path in (spool / "new").iterdir():
        path.unlink()
    slowest = max(seconds for _, seconds, _ in _measure([capture], 1, AT_ONCE))
    stored = len(list((spool / "new").iterdir()))
    return [
        Row(f"{AT_ONCE} captures at once, stored", stored, AT_ONCE, stored / AT_ONCE, ">= 1", "records"),
        Row("the slowest of them / deadline", slowest, DEADLINE, slowest / DEADLINE, "<= 1", "s"),
    ]
