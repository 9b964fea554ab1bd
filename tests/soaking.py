"""An installation under steady honest load: nodes, router and consumer, which is started again whenever it ends.

The consumer runs with a library that makes one folder hang while a file says so: a disk that does not answer.
"""

import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import pika

from consumers.programs.readiness import wait_served
from consumers.store import queries
from consumers.store.database import Store
from router.broker.topology import shard_of
from tests.flow import Running
from tests.hung_disk import hanging
from tests.nodes import Node, Sent
from tests.rabbit import RabbitAdmin
from tests.routing import Site
from tests.waiting import SLACK, wait_for

RATE = 20
"""Honest records a second, from all honest nodes together."""

_SETTLED = 60
_HONEST = 8

_HANDLERS = """
import os
import time

def note(event):
    with open({calls!r}, "a") as file:
        file.write(f"{{event.data['fsName']}} {{event.id}} {{time.time()}}\\n")

def end(event):
    os._exit(7)

def stall(event):
    while os.path.exists({hangs!r}):
        time.sleep(0.05)
"""

_SUBSCRIPTIONS = """
version: 1
subscriptions:
  - {{name: honest, on: unmount, call: {{function: "soaked:note"}}}}
  - {{name: ends, on: diskFailure, call: {{function: "soaked:end"}}, retry: {{first: 1s}}}}
  - {{name: stalls, on: pdFailed, call: {{function: "soaked:stall"}}}}
  - {{name: hung-log, on: rgPanic, log: {{file: "{hung}/events.jsonl"}}}}
  - {{name: hung-secret, on: fsstruct, post: {{url: "file:{hung}/url"}}, retry: {{attempts: 2, first: 1s}}}}
  - name: hung-groups
    on: ccrVarChange
    run: {{command: ["true"], nodes: "@all", timeout: 5s}}
    retry: {{attempts: 2, first: 1s}}
"""


@dataclass(frozen=True)
class Call:
    """One call of the honest handler: for which event, and when."""

    event_id: str
    at: float


class Soaked:
    """The installation in *folder*, over the virtual host at *url*; *rng* decides who sends when."""

    def __init__(self, folder: Path, url: str, admin: RabbitAdmin, rng: random.Random) -> None:
        # Not at the floods: there may be more of them than a test can read.
        self.site = Site(folder, url, admin, watched=["*.*.*.unmount.#", "clusterbus.#"])
        self.folder, self.url, self.rng = folder, url, rng
        self.calls_file, self._hangs = folder / "calls", folder / "hangs"
        self.store = f"sqlite:///{folder / 'store.db'}"
        self.deaths = 0
        self._sent: dict[str, tuple[Sent, float]] = {}
        self._read = 0
        self._calls: dict[str, list[Call]] = defaultdict(list)
        environment = {
            "CLUSTERBUS_BROKER": url,
            "CLUSTERBUS_CONSUMERS_STORE": self.store,
            "CLUSTERBUS_CONSUMERS_SUBSCRIPTIONS": str(self._write_files()),
            "CLUSTERSHELL_CFGDIR": str(folder),
            "PYTHONPATH": str(folder),
            **hanging(folder, folder / "hung", while_there=self._hangs),
        }
        self.consumer = Running("consume", [sys.executable, "-m", "consumers.cli.main", "consume"], environment, folder)

    def _write_files(self) -> Path:
        hung = self.folder / "hung"
        hung.mkdir()
        (hung / "url").write_text("http://127.0.0.1:9/\n")
        (self.folder / "soaked.py").write_text(_HANDLERS.format(calls=str(self.calls_file), hangs=str(self._hangs)))
        upcall = f"while test -e {self._hangs}; do sleep 0.05; done; echo 127.0.0.1"
        (self.folder / "groups.conf").write_text(f"[Main]\ndefault: slow\n[slow]\nmap: {upcall}\nall: {upcall}\n")
        file = self.folder / "subscriptions.yaml"
        file.write_text(_SUBSCRIPTIONS.format(hung=hung))
        self.names = [
            line.split("name: ")[1].split(",")[0].strip() for line in file.read_text().splitlines() if "name:" in line
        ]
        return file

    def __enter__(self) -> Self:
        self.site.__enter__()
        self.consumer.start()
        wait_served(self.url, self.names, limit=timedelta(seconds=60 * SLACK))
        self.honest = [self.site.node(f"good{number}") for number in range(_HONEST)]
        self.broken = self.site.node("broken")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answer()
        self.consumer.kill()
        self.site.__exit__(kind, error, trace)

    def twin_of(self, node: Node) -> Node:
        """Return another node whose records share the queue of those of *node*."""
        names = (f"twin{number}-of-{node.name.partition('-')[0]}" for number in range(1000))
        return self.site.node(next(each for each in names if shard_of(self.site.full(each)) == shard_of(node.name)))

    def tend(self) -> None:
        """Start the consumer again if it has ended, as systemd would; nothing may end the router."""
        assert self.site.router.process is not None
        assert self.site.router.process.poll() is None, self.site.router.words()
        assert self.consumer.process is not None
        if self.consumer.process.poll() is not None:
            self.deaths += 1
            self.consumer.start()

    def hang(self) -> None:
        """Let the hung folder, the stalled handler and the lookups of groups hang until `answer`."""
        self._hangs.touch()

    def answer(self) -> None:
        """End all hanging."""
        self._hangs.unlink(missing_ok=True)

    def trigger(self, event: str, *arguments: str, times: int = 5) -> None:
        """Publish *event* as the broken node's, for the subscription that does harm with it."""
        for _ in range(times):
            self.site.send(self.broken.record(event, *arguments, at=datetime.now(UTC)))

    def traffic(self, seconds: float, *more: Node, also: Callable[[], object] = lambda: None) -> list[str]:
        """Send honest records at the steady rate for *seconds*, from *more* nodes too; return what each is about.

        The moments of sending do not depend on how quickly the others were taken.  *also* is called all the while.
        """
        nodes = [*self.honest, *more]
        begin = time.time()
        due, sent = begin, []
        while due < begin + seconds:
            while (left := due - time.time()) > 0:
                self.tend()
                also()
                time.sleep(min(left, 0.02))
            about = f"fs{len(self._sent)}"
            record = self.rng.choice(nodes).record("unmount", "--fsName", about, at=datetime.now(UTC))
            self._sent[about] = record, due
            self._send(record)
            sent.append(about)
            due += self.rng.uniform(0.5, 1.5) / RATE
        return sent

    def _send(self, record: Sent) -> None:
        """Publish *record* until the broker takes it, as a relay does: a neighbour may have filled its queue."""

        def is_taken() -> bool:
            try:
                self.site.send(record)
            except pika.exceptions.NackError:
                return False
            return True

        wait_for(is_taken, _SETTLED, "the broker takes an honest record", pause=0.1)

    def wait_called(self, sent: list[str]) -> list[float]:
        """Wait until the handler was called for each of *sent*; return the seconds each took from its due moment."""

        def missing() -> list[str]:
            self.tend()
            calls = self.calls()
            return [each for each in sent if each not in calls]

        try:
            wait_for(lambda: not missing(), _SETTLED, "every honest event has its call")
        except AssertionError as error:
            states = f"router:\n{self.site.router.words()}\nconsumer:\n{self.consumer.words()}"
            raise AssertionError(f"{error}: {missing()[:5]} of {len(sent)} are missing\n{states}") from None
        calls = self.calls()
        return [calls[each][0].at - self._sent[each][1] for each in sent]

    def calls(self) -> dict[str, list[Call]]:
        """Return all calls of the honest handler so far, by what the event is about, oldest first."""
        if self.calls_file.exists():
            with self.calls_file.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.decode().splitlines():
                about, event_id, at = line.split()
                self._calls[about].append(Call(event_id, float(at)))
        return self._calls

    def count(self, subscription: str, outcome: str) -> int:
        """Return how many attempts of *subscription* ended so."""
        with Store(self.store, upgrade=False) as store, store.reading() as transaction:
            return len(queries.find(transaction, subscription=subscription, outcome=outcome, limit=10**6))

    def _published(self) -> dict[str, set[str]] | None:
        """Return the ids under which each honest event was published; None until all of them were."""
        ids: dict[str, set[str]] = defaultdict(set)
        for event in self.site.events():
            if str(event.data.get("fsName")) in self._sent:
                ids[str(event.data["fsName"])].add(event.id)
        return ids if len(ids) == len(self._sent) else None

    def verify(self) -> None:
        """Fail if an honest event was lost, published or delivered under two ids, or called after it was finished."""
        # A subscription may have an event a moment before the queue of the tap has it.
        ids = wait_for(self._published, _SETTLED, "every honest event is seen to be published", pause=1)
        with Store(self.store, upgrade=False) as store:

            def done() -> dict[str, float]:
                with store.reading() as transaction:
                    rows = queries.find(transaction, subscription="honest", outcome="done", limit=10**6)
                return {each.event_id: each.ended.timestamp() for each in rows if each.ended}

            wait_for(lambda: len(done()) >= len(self._sent), _SETTLED, "every honest event is recorded as done")
            finished = done()
        calls = self.calls()
        for about, (record, _) in self._sent.items():
            assert ids[about] == {record.id}, f"{about} was published under {ids[about]}, not {record.id} alone"
            assert {each.event_id for each in calls[about]} == {record.id}
            assert all(each.at <= finished[record.id] for each in calls[about]), f"{about} was called when it was done"
        assert len(finished) == len(self._sent), "nothing else was delivered"
