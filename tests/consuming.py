"""What tests of consumers share: events, subscriptions, and a consumer as a process of its own, to be killed.

`python -m tests.consuming BROKER STORE SUBSCRIPTIONS [MOMENT]` is the engine and the keeper; at its *MOMENT* it kills
itself with -9.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pika
from sqlalchemy import func, select

from consumers.dead_letters.keeper import Keeper
from consumers.deliveries import Delivery
from consumers.delivery.engine import Engine
from consumers.policies.retry import RetryPolicy
from consumers.store import attempts as table
from consumers.store import fast_writes, schema
from consumers.store.database import Store
from consumers.subscriptions.models import Subscription, Subscriptions
from consumers.verbs.interface import Verb, installed
from consumers.verbs.log.verb import LogVerb
from consumers.verbs.run.verb import RunVerb
from router.broker.amqp.pika_types import is_down
from router.broker.client import Rabbit
from router.broker.topology import EVENTS, HISTORY, RETRY, RETRY_STEPS, queue_of
from router.cli import logging
from router.model.events import CONTENT_TYPE, Event
from router.model.ids import new_id
from router.settings import loading
from tests import forking
from tests.rabbit import Tap
from tests.waiting import wait_for

ROOT = Path(__file__).parents[1]
_CONNECTED = "connected to the broker"
QUICK = RetryPolicy(attempts=3, first=timedelta(seconds=1), growth=1)


def make_event(event_id: str | None = None, **attributes: Any) -> Event:
    """Return an event; *attributes* are its own, or variables of its data."""
    own = {name: attributes.pop(name) for name in list(attributes) if name in Event.model_fields}
    defaults: dict[str, Any] = {
        "type": "gpfs.softQuotaExceeded",
        "source": "/gpfs/prod/nsd01",
        "subject": "gpfs1/projects",
        "time": "2026-11-20T15:22:07.980656123Z",
        "cluster": "prod",
        "node": "nsd01",
        "category": "quota",
        "severity": "warning",
        "scope": "local",
        "data": {"fsName": "gpfs1", "blockUsage": 1048576, "blockLimit": None, **attributes},
    }
    return Event(id=event_id or new_id(), **defaults | own)


def make_delivery(event: Event | None = None, subscription: str = "a", **fields: Any) -> Delivery:
    """Return what *subscription* is owed of *event*; *fields* are the delivery's."""
    event = event or make_event()
    return Delivery(event, subscription, event.topic, event.to_json(), **fields)


def make_subscription(name: str, verb: Verb | list[str] | None = None, **fields: Any) -> Subscription:
    """Return a subscription to all of GPFS; a list is the command that it runs, nothing the audit."""
    if isinstance(verb, list):
        verb = RunVerb(command=tuple(verb), timeout=fields.pop("timeout", timedelta(seconds=20)))
    defaults: dict[str, Any] = {"on": ("gpfs.#",), "patterns": ("gpfs.#",), "retry": QUICK}
    verb = verb or LogVerb()
    kind = next((each for each, model in installed().items() if isinstance(verb, model)), "test")
    return Subscription(name=name, kind=kind, verb=verb, **defaults | fields)


def python(code: str) -> list[str]:
    """Return the command that runs *code*, quickly; braces are no templates in it."""
    return [sys.executable, "-IS", "-c", code]


def effect(path: Path, more: str = "pass") -> list[str]:
    """Return the command that leaves a line in *path*, the event and the attempt, and then does *more*."""
    line = "os.environ['CLUSTERBUS_EVENT_ID']+' '+os.environ['CLUSTERBUS_ATTEMPT']+'\\n'"
    return python(f"import os,sys,time\nopen({str(path)!r},'a').write({line})\n{more}")


def text_of(ended: Any, stream: str = "output") -> str:
    """Return what a command printed on one *stream*, on all nodes alike; *ended* is its outcome, report or row."""
    (same,) = ended.result[stream]
    assert len(same["text"].encode()) <= same["octets"]
    return str(same["text"])


def lines(path: Path) -> list[str]:
    """Return the lines of *path*, none where it does not exist."""
    return path.read_text().splitlines() if path.exists() else []


def now() -> datetime:
    """Return the time, aware."""
    return datetime.now(UTC)


def publish(url: str, events: Iterable[Event], *, times: int = 1) -> None:
    """Publish *events* as the router would, each as often as told, and wait for the confirms.

    The broker never confirms what comes before it has found its stream again after a start, so that is waited for.
    """
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        wait_for(lambda: not _is_starting(connection, HISTORY), 60, "the history can be published to")
        channel = connection.channel()
        channel.confirm_delivery()
        for event in events:
            properties = pika.BasicProperties(
                message_id=event.id, type=event.type, content_type=CONTENT_TYPE, delivery_mode=2
            )
            for _ in range(times):
                channel.basic_publish(EVENTS, event.topic, event.to_json(), properties, mandatory=True)


def _is_starting(connection: pika.BlockingConnection, queue: str) -> bool:
    channel = connection.channel()
    try:
        channel.queue_declare(queue, passive=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        return is_down(error.reply_code, error.reply_text)
    channel.close()
    return False


class Consumer:
    """A consumer in a process of its own."""

    def __init__(self, url: str, folder: Path, subscriptions: Iterable[Subscription], *, store: str = "") -> None:
        self._url, self._folder = url, folder
        self.store_url = store or f"sqlite:///{folder / 'store.db'}"
        self._file = folder / "subscriptions.json"
        self._file.write_text(Subscriptions(subscriptions=tuple(subscriptions)).model_dump_json())
        self.process: forking.Program | None = None
        self._log = folder / "consumer.log"
        self._connected = 0
        self._store: Store | None = None

    def start(self, moment: str = "") -> Self:
        """Start it; at *moment* it will kill itself."""
        self._connected = self.words().count(_CONNECTED)
        words = [*self._program(), self._url, self.store_url, str(self._file), moment]
        with self._log.open("ab") as log:
            environment = {"CLUSTERBUS_CONSUMERS_JOBS": str(self._folder / "jobs"), **os.environ}
            self.process = forking.start(words, log.fileno(), environment=environment, cwd=ROOT)
        return self

    def _program(self) -> list[str]:
        return [sys.executable, "-m", "tests.consuming"]

    def wait_ready(self) -> Self:
        """Return when its queues are declared and consumed."""
        wait_for(
            lambda: self.words().count(_CONNECTED) >= self._connected + 2 or not self.is_running,
            20,
            "a consumer with both its connections",
        )
        assert self.is_running, self.words()
        return self

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def wait_killed(self) -> None:
        """Return when it has killed itself."""
        assert self.process is not None
        assert self.process.wait(120) == -signal.SIGKILL, self.words()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(120)

    def stop(self) -> int:
        """End it in good order; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(120)

    def words(self) -> str:
        """Return what it logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def store(self) -> Store:
        """The store that it writes."""
        if self._store is None:
            self._store = Store(self.store_url)
        return self._store

    def attempts(self, **filters: Any) -> list[table.Row]:
        """Return the attempts that are recorded, oldest first."""
        with self.store.reading() as transaction:
            return table.find(transaction, limit=100_000, **filters)[::-1]

    def count(self, **filters: Any) -> int:
        """Return how many attempts have an outcome, by their columns."""
        columns = schema.deliveries.c
        wanted = [columns[name] == value for name, value in filters.items()]
        query = select(func.count()).select_from(schema.deliveries).where(columns.outcome.is_not(None), *wanted)
        with self.store.reading() as transaction:
            return int(transaction.execute(query).scalar_one())

    def wait_outcomes(self, count: int, timeout: float = 30, **filters: Any) -> list[table.Row]:
        """Return the recorded attempts that have an outcome once there are *count*."""
        try:
            wait_for(lambda: self.count(**filters) >= count, timeout, f"{count} outcomes")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.attempts(**filters)}\n{self.words()[-4000:]}") from None
        return [row for row in self.attempts(**filters) if row.outcome]

    def close(self) -> None:
        """End it and let go of its store."""
        self.kill()
        if self._store is not None:
            self._store.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


Make = Callable[..., Consumer]


@contextmanager
def making(url: str, folder: Path, kind: type[Consumer] = Consumer, *, store: str = "") -> Iterator[Make]:
    """Give a function that returns a consumer of these subscriptions, to be started; all have one *store*, and end."""
    made: list[Consumer] = []

    def make(*subscriptions: Subscription, url: str = url) -> Consumer:
        made.append(kind(url, folder, subscriptions, store=store))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def wait_empty(tap: Tap, *names: str) -> None:
    """Return when nothing waits in the queues of these subscriptions, nor in a wait queue, to come back to them.

    A kill after a copy was handed over and before the ack leaves a second copy in a wait queue.
    """
    queues = [*map(queue_of, names), *(f"{RETRY}.{step}" for step in RETRY_STEPS)]
    wait_for(lambda: not any(tap.count(queue) for queue in queues), 20, "empty queues")


def stop_for_good(consumer: Consumer, tap: Tap, *names: str) -> None:
    """Stop *consumer* so that the queues of these subscriptions are empty; start it again as often as that takes.

    The broker requeues what a kill or a stop left unsettled, in its own time; the next consumer settles it.
    """

    def is_empty() -> bool:
        wait_empty(tap, *names)
        assert consumer.stop() == 0
        wait_for(lambda: not any(tap.consumers(queue_of(name)) for name in names), 20, "the broker notices the stop")
        if all(tap.count(queue_of(name)) == 0 for name in names):
            return True
        consumer.start().wait_ready()
        return False

    wait_for(is_empty, 60, "empty queues after a stop")


def is_gone(pid: int | str) -> bool:
    """Say whether a process has ended, be it that nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Fragile(Rabbit):
    """A line to the broker that is cut by a kill at an acknowledgement of a subscription's delivery."""

    moment = ""

    def ack(self, arrival: Any) -> None:
        if self.moment == "before the ack":
            _die()
        super().ack(arrival)
        if self.moment == "after the ack":
            self._consumer.flush()
            # Written to the socket before the loop goes on, or the broker would not know.
            self.later(timedelta(milliseconds=200), _die)

    def publish(self, message: Any, settled: Any) -> None:
        if self.moment == "before it is handed over":
            _die()

        def then(settlement: Any) -> None:
            if self.moment == "after it is handed over":
                _die()
            settled(settlement)

        super().publish(message, then)


def _plant(moment: str) -> None:
    """Have the outcome's recording be the moment."""
    for module, name in ((table, "record"), (fast_writes, "finish")):
        setattr(module, name, _dying_before(getattr(module, name), moment))


def _dying_before(record: Any, moment: str) -> Any:
    def recorded(transaction: Any, attempts: Any) -> None:
        rows = list(attempts)
        if rows and moment == "before the outcome is recorded":
            _die()
        record(transaction, rows)

    return recorded


def main() -> None:
    """Be the consumer."""
    url, store_url, file, moment = sys.argv[1:5]
    logging.configure(form="json")
    if moment:
        _plant(moment)
    broker = _Fragile(url, name="consumer", longest_pause=timedelta(seconds=1))
    broker.moment = moment
    store = Store(store_url)
    subscriptions = Subscriptions.model_validate_json(Path(file).read_text())
    of_the_test = loading.load(system=Path("/none")).settings
    engine = Engine(broker, store, subscriptions, clock=now, settings=of_the_test)
    keeper = Keeper(broker, store, now)
    signal.signal(signal.SIGTERM, lambda *_: broker.call(lambda: (keeper.stop(), engine.stop(timedelta(seconds=5)))))
    engine.start()
    keeper.start()
    broker.run()
    store.close()


if __name__ == "__main__":
    main()
