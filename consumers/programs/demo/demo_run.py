"""Runs the demo's steps, shows its progress, and counts the results."""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from router.local_broker.choose import GivenBroker
from router.local_broker.private_broker import PrivateBroker
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.pipeline.state import State

from ...store import attempts as deliveries
from ...store import audit
from ...store.database import Store
from ...subscriptions.validation import load
from .installation import Installation
from .result_counts import ResultCounts, count, owed
from .scenario import HANDLERS, NODES, Step, steps
from .screen import Line, Screen

_LOOK = 0.25
_PATIENCE = timedelta(minutes=2)
"""How long the last deliveries may take after the steps; the longest retry delay is some seconds."""


def run_demo(folder: Path, broker: PrivateBroker | GivenBroker, screen: Screen, *, speed: float = 1.0) -> ResultCounts:
    """Play the demo in the empty *folder*; return the count, complete or not.  *speed* 2 is twice as fast."""
    with Installation(folder, broker, NODES, HANDLERS) as installation:
        return _DemoRun(installation, screen, speed).run()


class _DemoRun:
    def __init__(self, installation: Installation, screen: Screen, speed: float) -> None:
        self._installation, self._screen, self._speed = installation, screen, speed
        self._state, self._store = State(installation.state), Store(installation.store)
        self._subscriptions = load([installation.subscriptions], Catalogues.shipped()).subscriptions
        self._captured = 0
        self._failure: BaseException | None = None

    def run(self) -> ResultCounts:
        try:
            thread = threading.Thread(target=self._run_steps, name="steps", daemon=True)
            thread.start()
            while thread.is_alive():
                self._look()
                thread.join(_LOOK)
            if self._failure:
                raise self._failure
            return self._wait_settled()
        finally:
            self._state.close()
            self._store.close()

    def _run_steps(self) -> None:
        try:
            for step in steps(self._installation.nodes):
                if step.broker is None or self._installation.is_private:
                    self._run_step(step)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread, where the user sees it
            self._failure = error

    def _run_step(self, step: Step) -> None:
        self._screen.say(step.title)
        broker = self._installation.broker
        if isinstance(broker, PrivateBroker) and step.broker:
            getattr(broker, step.broker)()
        for callback in step.callbacks:
            runs = self._installation.cluster.raise_event(callback.event, dict(callback.variables), callback.node)
            self._captured += sum(each.exit_code == 0 for each in runs)
            time.sleep(step.pause / self._speed)

    def _look(self) -> ResultCounts:
        self._installation.tend()
        spools = [node.spool for node in self._installation.cluster.nodes]
        counts = count(self._captured, spools, self._state, self._store, self._subscriptions)
        self._screen.show(self._lines(), counts)
        return counts

    def _wait_settled(self) -> ResultCounts:
        until = time.monotonic() + _PATIENCE.total_seconds()
        counts = self._look()
        while not counts.settled and time.monotonic() < until:
            time.sleep(_LOOK)
            counts = self._look()
        return counts

    def _lines(self) -> list[Line]:
        with self._store.reading() as transaction:
            entries = audit.find(transaction, limit=10_000)
            rows = deliveries.find(transaction, limit=10_000)
        outcomes: dict[tuple[str, str], list[str | None]] = defaultdict(list)
        for row in reversed(rows):
            outcomes[row.event_id, row.subscription].append(row.outcome)
        with self._state.transaction() as transaction:
            reports = transaction.observers([each.id for each in entries])
        events = [Event.from_json(each.body) for each in reversed(entries)]
        # Events of the relays and the router themselves are not counted and would distract.
        shown = [each for each in events if each.origin == "gpfs"]
        return [self._line(each, outcomes, reports.get(each.id, 1)) for each in shown]

    def _line(self, event: Event, outcomes: Mapping[tuple[str, str], list[str | None]], reports: int) -> Line:
        deliveries = {name: outcomes[event.id, name] for name in owed(event, self._subscriptions)}
        return Line(
            event.id, event.time, event.name, event.severity, event.subject or "", event.node, reports, deliveries
        )
