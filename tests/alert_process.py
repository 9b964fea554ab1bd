"""An engine of alerts as a process of its own, to be killed.

`python -m tests.alert_process BROKER STORE RULES [MOMENT]` kills itself with -9 at its *MOMENT*.
"""

import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pika

from consumers.alert_engine import transactions
from consumers.alert_engine.alert_engine import AlertEngine
from consumers.store.alerts import alerts, outbox
from consumers.store.database import Store
from router.broker.client import Rabbit
from router.broker.topology import EVENTS, base
from router.cli import logging
from router.model.catalogue import Catalogues
from router.model.events import Event
from tests import forking
from tests.alerting import active
from tests.waiting import wait_for

MOMENTS = (
    "before the transaction ends",
    "after the transaction",
    "before a change is confirmed",
    "after a change is confirmed",
    "before the ack",
    "after the ack",
    "before a change is marked",
)
_ROOT = Path(__file__).parents[1]
_SEEN = "test.changes"
_CONNECTED = "connected to the broker"


class AlertProcess:
    """One engine; several with the same *store_url* share the work."""

    def __init__(self, url, folder, *rules, store_url=""):
        self._url, self._folder, self._rules = url, folder, rules
        self.store_url = store_url or f"sqlite:///{folder / 'store.db'}"
        self.process, self._log, self._connected = None, folder / "alerts.log", 0

    def start(self, moment=""):
        self._connected = self.words().count(_CONNECTED)
        command = [
            sys.executable,
            "-m",
            "tests.alert_process",
            self._url,
            self.store_url,
            json.dumps(self._rules),
            moment,
        ]
        with self._log.open("ab") as log:
            self.process = forking.start(
                command, log.fileno(), environment={**os.environ}, cwd=Path(__file__).parents[1]
            )
        return self

    def wait_ready(self):
        wait_for(lambda: self.words().count(_CONNECTED) >= self._connected + 2, 40, "an engine with both connections")
        return self

    def wait_killed(self):
        assert self.process.wait(120) == -signal.SIGKILL, self.words()

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(120)

    def stop(self):
        self.process.terminate()
        return self.process.wait(120)

    def words(self):
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def alerts(self):
        with Store(self.store_url) as store, store.reading() as transaction:
            return alerts.select(transaction, states=("open", "acknowledged", "closed"), limit=10_000)[::-1]

    def wait_opened(self, count):
        """Wait until there are *count* alerts, whatever of them is published."""
        wait_for(lambda: len(self.alerts()) >= count, 60, f"{count} alerts")

    def wait_published(self, count):
        """Return the alerts when there are *count* of them, and all their changes are published."""

        def found():
            with Store(self.store_url) as store, store.reading() as transaction:
                rows = alerts.select(transaction, states=("open", "acknowledged", "closed"), limit=10_000)
                return len(rows) >= count and outbox.oldest_unpublished(transaction) is None and rows

        return wait_for(found, 60, f"{count} alerts whose changes are published")


def listen(url):
    """Have all changes of alerts kept in a queue of the test's own."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(_SEEN, durable=True)
    channel.queue_bind(_SEEN, EVENTS, "clusterbus.*.alert.#")
    connection.close()


def changes(tap):
    """Return the changes that were published so far, each as often as it was."""
    return [Event.from_json(each.body) for each in tap.drain(_SEEN)]


def _die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


class _Fragile(Rabbit):
    moment = ""

    def ack(self, arrival):
        if self.moment == "before the ack":
            _die()
        super().ack(arrival)
        if self.moment == "after the ack":
            self._consumer.flush()
            self.later(timedelta(milliseconds=200), _die)

    def publish(self, message, settled):
        if self.moment == "after the transaction":
            _die()

        def then(settlement):
            if self.moment == "before a change is marked":
                outbox.mark_published = _die
            settled(settlement)
            if self.moment == "after a change is confirmed":
                _die()

        super().publish(message, then)
        if self.moment == "before a change is confirmed":
            self.later(timedelta(), _die)


def _dying_after(function):
    def written(*arguments):
        function(*arguments)
        _die()

    return written


def main():
    url, store_url, rules, moment = sys.argv[1:5]
    logging.configure(form="json")
    if moment == "before the transaction ends":
        transactions.work.write = _dying_after(transactions.work.write)
    broker = _Fragile(url, name="alerts", longest_pause=timedelta(seconds=1))
    broker.moment = moment
    broker.declare(base())
    store = Store(store_url)
    engine = AlertEngine(
        broker, store, active(*json.loads(rules)), clock=lambda: datetime.now(UTC), catalogues=Catalogues.shipped()
    )

    def stop():
        engine.stop()
        broker.stop()

    signal.signal(signal.SIGTERM, lambda *_: broker.call(stop))
    engine.start()
    broker.run()
    store.close()


if __name__ == "__main__":
    main()
