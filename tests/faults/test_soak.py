"""Honest nodes at a steady rate beside every bad neighbour in turn: nothing honest is lost, doubled or repeated.

`pytest tests/faults/test_soak.py -s --soak-minutes 30 --soak-seed 7` does it for longer and in another order; with
`--soak-beside disk`, only the neighbours that have this word; with `--soak-controls`, also what judges no router. `-s`
shows the table that README has.
"""

import json
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from router.broker.topology import EVENTS
from tests import neighbours
from tests.conftest import missing
from tests.faults.test_capture_last import clog, syslog_in_place
from tests.machine import command_of, machine_in
from tests.nodes import Node
from tests.processes import bound
from tests.rabbit import RabbitAdmin
from tests.soaking import Soaked
from tests.waiting import SLACK, wait_for

_ALONE, _BESIDE = 2.0, 6.0
"""Seconds of honest traffic without a neighbour, and beside it, in the suite."""

_LONGER = 3
"""How many times as long both last where the soak is asked to last for minutes."""

_PATIENCE = 120
_WORST = 15.0
"""Seconds within which each honest event reaches its handler on a quiet machine, whatever the neighbour."""

_numbers = count(1)


@dataclass
class Beside:
    """What a neighbour is given: the installation, honest nodes to add to the traffic, what to call all the while."""

    soaked: Soaked
    nodes: list[Node] = field(default_factory=list)
    also: Callable[[], object] = lambda: None
    note: str = ""


@contextmanager
def publishing(beside: Beside, loud: Node, kind: str, taken: list[str], *queue: str) -> Iterator[None]:
    """The program of *loud*, which publishes records of *kind*, to *queue* alone if that is given; *taken* get ids."""
    words = bound([sys.executable, "-m", neighbours.__name__, beside.soaked.site.url_of(loud), loud.name, kind, *queue])
    with (
        (beside.soaked.folder / f"{loud.name}.log").open("wb") as log,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield
            output, _ = process.communicate(timeout=_PATIENCE * SLACK)
        finally:
            process.kill()
    taken += json.loads(output)
    beside.note = f": {len(taken):,} taken"


@contextmanager
def elsewhere(beside: Beside, kind: str) -> Iterator[None]:
    """The same program as in `hostile`, into a queue that takes all and that no router reads.

    What this costs is the share of the machine that the program and the broker take: a router cannot give it back.
    """
    site, queue = beside.soaked.site, f"elsewhere{next(_numbers)}"
    arguments = {"x-queue-type": "quorum", "x-max-length": 100}
    site.tap.channel.queue_declare(queue, durable=True, arguments=arguments)
    try:
        with publishing(beside, site.node(f"loud{next(_numbers)}"), kind, [], queue):
            yield
    finally:
        site.tap.channel.queue_delete(queue)


@contextmanager
def hostile(beside: Beside, kind: str, *, kept: bool = True) -> Iterator[None]:
    """A node that publishes records of *kind* under its own user, as fast as it can; one honest node is in its queue.

    If these records are *kept*, not rejected, nothing of them is lost either.
    """
    site = beside.soaked.site
    loud = site.node(f"loud{next(_numbers)}")
    beside.nodes.append(beside.soaked.twin_of(loud))
    taken: list[str] = []
    with publishing(beside, loud, kind, taken):
        yield

    def told() -> bool:
        return any((each.name, each.node) == ("nodeFlooding", loud.name) for each in site.events("clusterbus"))

    wait_for(told, _PATIENCE, f"{kind}: the flood is an event")
    wait_for(lambda: not site.waiting(), _PATIENCE, "all of the flood is routed")
    if kept:
        wait_for(lambda: site.known(taken[-10:]), _PATIENCE, "the last of the flood are known")
        assert site.known(taken), "nothing that the broker took is lost"


def flood(kind: str, *, kept: bool = True) -> Callable[[Beside], object]:
    """Return the neighbour that publishes *kind*."""
    return lambda beside: hostile(beside, kind, kept=kept)


def control(kind: str) -> Callable[[Beside], object]:
    """Return the neighbour that publishes *kind* past the router."""
    return lambda beside: elsewhere(beside, kind)


@contextmanager
def ending(beside: Beside) -> Iterator[None]:
    """Events whose handler ends the consumer's process."""
    soaked = beside.soaked
    before, given_up = soaked.deaths, soaked.count("ends", "dead")
    soaked.trigger("diskFailure", times=2)
    yield

    def are_given_up() -> bool:
        soaked.tend()
        return soaked.count("ends", "dead") == given_up + 2

    wait_for(are_given_up, _PATIENCE, "the deliveries that end the consumer are given up")
    assert soaked.deaths > before, "the handler ended the consumer"
    beside.note = f": {soaked.deaths - before} times"


def hung(event: str, *arguments: str) -> Callable[[Beside], object]:
    """Return the neighbour whose handling of *event* hangs."""

    @contextmanager
    def hanging(beside: Beside) -> Iterator[None]:
        beside.soaked.hang()
        try:
            beside.soaked.trigger(event, *arguments)
            yield
        finally:
            beside.soaked.answer()

    return hanging


@contextmanager
def locked_store(beside: Beside) -> Iterator[None]:
    """Another program that holds the consumers' store for two seconds again and again."""
    other = sqlite3.connect(beside.soaked.folder / "store.db", isolation_level=None, timeout=30)
    until = 0.0

    def hold_or_release() -> None:
        nonlocal until
        if other.in_transaction and time.monotonic() >= until:
            other.execute("ROLLBACK")
            until = time.monotonic() + 0.5
        elif not other.in_transaction and time.monotonic() >= until:
            other.execute("BEGIN IMMEDIATE")
            until = time.monotonic() + 2

    beside.also = hold_or_release
    try:
        yield
    finally:
        other.close()


@contextmanager
def silent_syslog(beside: Beside) -> Iterator[None]:
    """Captures on a machine whose spool is broken and whose syslog hangs."""
    with machine_in(beside.soaked.folder / f"machine{next(_numbers)}") as machine, ExitStack() as stack:
        if isinstance(machine, str):
            missing(machine)
        (machine.spool / "tmp").rmdir()
        stack.enter_context(syslog_in_place(machine, socket.SOCK_DGRAM))
        clog(machine)
        words = machine.enter(*command_of("--spool", str(machine.spool), "gpfs", "diskFailure", "--fsName", "gpfs1"))
        running: list[subprocess.Popen[bytes]] = []

        def capture() -> None:
            if all(each.poll() is not None for each in running[-4:]):
                running.append(subprocess.Popen(words))

        beside.also = capture
        yield
        assert [each.wait(_PATIENCE * SLACK) for each in running] == [0] * len(running)
        beside.note = f": {len(running)} captures"


@contextmanager
def stranger(beside: Beside) -> Iterator[None]:
    """A queue of another team, bound to all events, that refuses what it has no room for."""
    channel = beside.soaked.site.tap.channel
    channel.queue_declare("stranger", durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.queue_bind("stranger", EVENTS, "#")
    try:
        yield
    finally:
        channel.queue_delete("stranger")


_CONTROL = ", past the router"

NEIGHBOURS: dict[str, Callable[[Beside], object]] = {
    "a flood of small records": flood("small"),
    f"a flood of small records{_CONTROL}": control("small"),
    "a flood of small records that waits for no answer": flood(neighbours.DEAF, kept=False),
    "a flood of the largest valid records, 1 MB each": flood("dear"),
    f"a flood of the largest valid records{_CONTROL}": control("dear"),
    "a flood of records that are rejected": flood("garbage", kept=False),
    "a flood under keys that no record may have": flood("odd_key", kept=False),
    "a flood of rejected records with 60 KB of headers": flood("endless_headers", kept=False),
    f"a flood of 60 KB of headers{_CONTROL}": control("endless_headers"),
    "a flood of records from the year 9999": flood("future"),
    "a handler that ends the consumer's process": ending,
    "a handler that does not return": hung("pdFailed"),
    "`log` to a disk that hangs": hung("rgPanic"),
    "a secret on a disk that hangs": hung("fsstruct"),
    "a lookup of node groups that hangs": hung("ccrVarChange"),
    "a program that locks the store for 2 s, again and again": locked_store,
    "a node without spool whose syslog hangs": silent_syslog,
    "a queue of another service that refuses events": stranger,
}
"""Every bad neighbour, under the name that README's table has: what it does while the context manager is open."""


@dataclass
class Row:
    """What one neighbour cost: seconds of the honest events before it and beside it."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    note: str = ""

    def text(self, name: str) -> str:
        """Return the line of README's table."""
        cut = sorted(self.beside)
        numbers = (statistics.median(cut), cut[int(len(cut) * 0.99) - 1], cut[-1], statistics.median(self.alone))
        return f"| {name}{self.note} | {' | '.join(map(_shown, numbers))} |"


def _shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_bad_neighbours_harm_nobody(
    tmp_path: Path, vhost_url: str, rabbit_admin: RabbitAdmin, require, request: pytest.FixtureRequest
) -> None:
    require("gcc")
    minutes, seed = request.config.getoption("--soak-minutes"), request.config.getoption("--soak-seed")
    chosen = [each for each in NEIGHBOURS if request.config.getoption("--soak-beside") in each]
    if not request.config.getoption("--soak-controls"):
        chosen = [each for each in chosen if not each.endswith(_CONTROL)]
    rng, factor = random.Random(seed), _LONGER if minutes else 1
    rows: dict[str, Row] = defaultdict(Row)
    until = time.monotonic() + 60 * minutes
    with Soaked(tmp_path, vhost_url, rabbit_admin, rng) as soaked:
        while not rows or time.monotonic() < until:
            for name in rng.sample(chosen, len(chosen)):
                beside = Beside(soaked)
                rows[name].alone += soaked.wait_called(soaked.traffic(_ALONE * factor))
                with NEIGHBOURS[name](beside):  # type: ignore[attr-defined]
                    sent = soaked.traffic(_BESIDE * factor, *beside.nodes, also=beside.also)
                rows[name].beside += soaked.wait_called(sent)
                rows[name].note = beside.note
        soaked.verify()
    print(f"\n| beside (seed {seed}) | median | 99 % | worst | median alone |\n|---|---|---|---|---|")
    for name in chosen:
        print(rows[name].text(name))
    for name, row in rows.items():
        assert max(row.beside) < _WORST * SLACK, name
