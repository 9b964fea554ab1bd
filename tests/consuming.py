"""What tests of consumers share: events, subscriptions, and a consumer as a process of its own, to be killed.

`python -m tests.consuming BROKER STORE SUBSCRIPTIONS [MOMENT]` is the engine and the keeper; at its *MOMENT* it kills
itself with -9.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pika
from sqlalchemy import func, select

from consumers.engine import Engine
from consumers.letters import Keeper
from consumers.retries import RetryPolicy
from consumers.store import Store, bulk, schema
from consumers.store import deliveries as table
from consumers.subscriptions import Subscription, Subscriptions
from consumers.verbs import Verb, installed
from consumers.verbs.log import LogVerb
from consumers.verbs.run import RunVerb
from router import logs, settings
from router.broker.rabbit import Rabbit
from router.broker.topology import EVENTS
from router.events import CONTENT_TYPE, Event
from router.records import new_id
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


def now() -> datetime:
    """Return the time, aware."""
    return datetime.now(UTC)


def publish(url: str, events: Iterable[Event], *, times: int = 1) -> None:
    """Publish *events* as the router would, each as often as told, and wait for the confirms."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    for event in events:
        properties = pika.BasicProperties(
            message_id=event.id, type=event.type, content_type=CONTENT_TYPE, delivery_mode=2
        )
        for _ in range(times):
            channel.basic_publish(EVENTS, event.topic, event.to_json(), properties, mandatory=True)
    connection.close()


class Consumer:
    """A consumer in a process of its own."""

    def __init__(self, url: str, folder: Path, subscriptions: Iterable[Subscription]) -> None:
        self._url, self._folder = url, folder
        self.store_url = f"sqlite:///{folder / 'store.db'}"
        self._file = folder / "subscriptions.json"
        self._file.write_text(Subscriptions(subscriptions=tuple(subscriptions)).model_dump_json())
        self.process: subprocess.Popen[bytes] | None = None
        self._log = folder / "consumer.log"
        self._connected = 0
        self._store: Store | None = None

    def start(self, moment: str = "") -> Self:
        """Start it; at *moment* it will kill itself."""
        self._connected = self.words().count(_CONNECTED)
        words = [sys.executable, "-m", "tests.consuming", self._url, self.store_url, str(self._file), moment]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

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
        assert self.process.wait(30) == -signal.SIGKILL, self.words()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def stop(self) -> int:
        """End it in good order; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

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
def making(url: str, folder: Path, kind: type[Consumer] = Consumer) -> Iterator[Make]:
    """Give a function that returns a consumer of these subscriptions, to be started; all have one store, and end."""
    made: list[Consumer] = []

    def make(*subscriptions: Subscription, url: str = url) -> Consumer:
        made.append(kind(url, folder, subscriptions))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def is_gone(pid: int | str) -> bool:
    """Say whether a process has ended, be it that nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except FileNotFoundError:
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
    for module, name in ((table, "record"), (bulk, "finish")):
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
    logs.configure(json=True)
    if moment:
        _plant(moment)
    broker = _Fragile(url, name="consumer", longest_pause=timedelta(seconds=1))
    broker.moment = moment
    store = Store(store_url)
    subscriptions = Subscriptions.model_validate_json(Path(file).read_text())
    of_the_test = settings.load(system=Path("/none")).settings
    engine = Engine(broker, store, subscriptions, clock=now, settings=of_the_test)
    keeper = Keeper(broker, store, now)
    signal.signal(signal.SIGTERM, lambda *_: broker.call(lambda: (keeper.stop(), engine.stop(timedelta(seconds=5)))))
    engine.start()
    keeper.start()
    broker.run()
    store.close()


if __name__ == "__main__":
    main()
