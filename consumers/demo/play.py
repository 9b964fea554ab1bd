"""Plays the story on the stage, looks at what comes of it, and closes the books."""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from router.broker.private import GivenBroker, PrivateBroker
from router.catalogue import Catalogues
from router.events import Event
from router.state import State

from ..check import load
from ..store import Store, audit, deliveries
from .books import Books, count, owed
from .screen import Line, Screen
from .stage import Stage
from .story import HANDLERS, NODES, Act, story

_LOOK = 0.25
_PATIENCE = timedelta(minutes=2)
"""How long the last deliveries may take after the story: the longest retry is seconds away."""


def play(folder: Path, broker: PrivateBroker | GivenBroker, screen: Screen, *, speed: float = 1.0) -> Books:
    """Play the demo in the empty *folder*; returns the books, settled or not.  *speed* 2 is twice as fast."""
    with Stage(folder, broker, NODES, HANDLERS) as stage:
        return _Play(stage, screen, speed).run()


class _Play:
    def __init__(self, stage: Stage, screen: Screen, speed: float) -> None:
        self._stage, self._screen, self._speed = stage, screen, speed
        self._state, self._store = State(stage.state), Store(stage.store)
        self._subscriptions = load([stage.subscriptions], Catalogues.shipped()).subscriptions
        self._captured = 0
        self._failure: BaseException | None = None

    def run(self) -> Books:
        try:
            actor = threading.Thread(target=self._act_all, name="story", daemon=True)
            actor.start()
            while actor.is_alive():
                self._look()
                actor.join(_LOOK)
            if self._failure:
                raise self._failure
            return self._wait_settled()
        finally:
            self._state.close()
            self._store.close()

    def _act_all(self) -> None:
        try:
            for act in story(self._stage.nodes):
                if act.broker is None or self._stage.owned:
                    self._act(act)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the user sees it
            self._failure = error

    def _act(self, act: Act) -> None:
        self._screen.say(act.title)
        broker = self._stage.broker
        if isinstance(broker, PrivateBroker) and act.broker:
            getattr(broker, act.broker)()
        for callback in act.callbacks:
            runs = self._stage.cluster.raise_event(callback.event, dict(callback.variables), callback.node)
            self._captured += sum(each.exit_code == 0 for each in runs)
            time.sleep(act.pause / self._speed)

    def _look(self) -> Books:
        self._stage.tend()
        spools = [node.spool for node in self._stage.cluster.nodes]
        books = count(self._captured, spools, self._state, self._store, self._subscriptions)
        self._screen.show(self._lines(), books)
        return books

    def _wait_settled(self) -> Books:
        until = time.monotonic() + _PATIENCE.total_seconds()
        books = self._look()
        while not books.settled and time.monotonic() < until:
            time.sleep(_LOOK)
            books = self._look()
        return books

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
        # What the relays and the router say of themselves is counted by nobody, and would be in the way.
        shown = [each for each in events if each.origin == "gpfs"]
        return [self._line(each, outcomes, reports.get(each.id, 1)) for each in shown]

    def _line(self, event: Event, outcomes: Mapping[tuple[str, str], list[str | None]], reports: int) -> Line:
        deliveries = {name: outcomes[event.id, name] for name in owed(event, self._subscriptions)}
        return Line(
            event.id, event.time, event.name, event.severity, event.subject or "", event.node, reports, deliveries
        )
