"""Runs the demo's steps, shows its progress, and counts the results."""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from router.local_broker.choose import GivenBroker
from router.local_broker.private_broker import PrivateBroker
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.pipeline.state import State

from ...alerts.alert_row import AlertRow
from ...errors import AlertNotSeen
from ...expressions.values.alert_values import is_change
from ...inspection.status import alert_listing
from ...store import attempts as deliveries
from ...store import audit
from ...store.alerts import alerts
from ...store.database import Store
from ...subscriptions.validation import load
from .alert_lines import AlertResult, about, detail, result, title
from .installation import Installation
from .result_counts import ResultCounts, count, every_alert, owed
from .scenario import HANDLERS, NODES, Acknowledgement, Awaited, Step, steps
from .screen import Line, Screen

_LOOK = 0.25
_PATIENCE = timedelta(minutes=2)
"""How long the last deliveries may take after the steps; the longest retry delay is some seconds."""


def run_demo(
    folder: Path, broker: PrivateBroker | GivenBroker, screen: Screen, *, speed: float = 1.0
) -> tuple[ResultCounts, list[AlertResult]]:
    """Play the demo in the empty *folder*; return the count, complete or not, and the alerts that were published.

    *speed* 2 is twice as fast.  Raises AlertNotSeen if an alert that a step waits for does not come.
    """
    with Installation(folder, broker, NODES, HANDLERS) as installation:
        return _DemoRun(installation, screen, speed).run()


class _DemoRun:
    def __init__(self, installation: Installation, screen: Screen, speed: float) -> None:
        self._installation, self._screen, self._speed = installation, screen, speed
        self._state, self._store = State(installation.state), Store(installation.store)
        self._catalogues = Catalogues.shipped()
        self._subscriptions = load([installation.subscriptions], self._catalogues).subscriptions
        self._captured = 0
        self._failure: BaseException | None = None

    def run(self) -> tuple[ResultCounts, list[AlertResult]]:
        try:
            thread = threading.Thread(target=self._run_steps, name="steps", daemon=True)
            thread.start()
            while thread.is_alive():
                self._look()
                thread.join(_LOOK)
            if self._failure:
                raise self._failure
            return self._wait_settled(), self._alerts()
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
        if step.acknowledgement:
            self._acknowledge(step.acknowledgement)
        for each in step.awaited:
            self._wait_for(each)

    def _acknowledge(self, act: Acknowledgement) -> None:
        """Do what `clusterbus alerts ack` does."""
        row = self._wait_for(Awaited(act.rule))
        with self._store.writing() as transaction:
            how: dict[str, Any] = {"by": act.by, "comment": act.comment, "catalogues": self._catalogues}
            alerts.act(transaction, row.id, "ack", at=datetime.now(UTC), **how)

    def _wait_for(self, awaited: Awaited) -> AlertRow:
        until = time.monotonic() + _PATIENCE.total_seconds()
        while time.monotonic() < until:
            with self._store.reading() as transaction:
                found = alerts.select(transaction, states=awaited.states, rule=awaited.rule)
            told = [each for each in found if each.told]
            if len(told) >= awaited.count:
                return told[0]
            time.sleep(_LOOK)
        raise AlertNotSeen(awaited.rule, awaited.states, _PATIENCE)

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
            rules = {each.id: each.rule for each in every_alert(transaction)}
        outcomes: dict[tuple[str, str], list[str | None]] = defaultdict(list)
        for row in reversed(rows):
            outcomes[row.event_id, row.subscription].append(row.outcome)
        with self._state.transaction() as transaction:
            reports = transaction.observers([each.id for each in entries])
        events = [Event.from_json(each.body) for each in reversed(entries)]
        # Other events of our programs are not counted and would distract.
        shown = [each for each in events if each.origin == "gpfs" or is_change(each)]
        lines = (self._line(each, outcomes, reports.get(each.id, 1)) for each in shown)
        return [_of_alert(line, event, rules) for line, event in zip(lines, shown, strict=True)]

    def _line(self, event: Event, outcomes: Mapping[tuple[str, str], list[str | None]], reports: int) -> Line:
        deliveries = {name: outcomes[event.id, name] for name in owed(event, self._subscriptions)}
        return Line(
            event.id, event.time, event.name, event.severity, event.subject or "", event.node, reports, deliveries
        )

    def _alerts(self) -> list[AlertResult]:
        now = datetime.now(UTC)
        # The subscription to everything notifies nobody.
        people = {each.name for each in self._subscriptions if "#" not in each.patterns}
        with self._store.reading() as transaction:
            rows = every_alert(transaction)
            told = {each.id: people & alert_listing.notified(transaction, each.id).keys() for each in rows}
        rules = {each.id: each.rule for each in rows}
        return [result(each, now, sorted(told[each.id]), rules) for each in reversed(rows) if each.told]


def _of_alert(line: Line, event: Event, rules: Mapping[str, str]) -> Line:
    """Return *line* as it is shown if its *event* is a change of an alert."""
    if not is_change(event):
        return line
    return replace(
        line, event=title(event), about=about(event), rule=str(event.data["rule"]), detail=detail(event, rules)
    )
