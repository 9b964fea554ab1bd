"""Publishes the events of timers: each consumer looks, and the store says what has been due.

An event of a timer has the same id in each consumer, so it is delivered once, however many publish it.  What was missed
while no consumer ran is due once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy.engine import Connection

from router.broker.interface import Broker, Settlement
from router.model import ids
from router.model.topics import ABSENT
from router.pipeline.mapping import own_event
from router.pipeline.messages import message_of
from router.programs.regular_look import regularly
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues, read_again

from ..errors import StoreError
from ..policies.schedules.timed_events import EVENT
from ..store import rates_and_folds
from ..store.database import Store, lock
from ..subscriptions.models import Subscriptions

log = logging.getLogger(__name__)

_RULE: Final = "every"
_LOOK: Final = timedelta(seconds=1)
_CONFIRM: Final = 30.0
_REFRESH: Final = timedelta(days=1)
"""How often what is remembered gets a new time, so that retention keeps it."""

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class DueTimers:
    """Looks which timers are due; a thread of its own calls `look`."""

    def __init__(
        self,
        broker: Broker,
        store: Store,
        settings: Settings,
        subscriptions: Subscriptions,
        clock: Callable[[], datetime],
    ) -> None:
        """Publish over *broker* for those of *subscriptions* that have timers; remember in *store*."""
        self._broker, self._store, self._clock = broker, store, clock
        self._subscriptions = subscriptions
        self._settings, self._catalogues = settings, catalogues(settings)
        self._wire = settings.router.wire
        self._cluster = settings.facts.cluster or ABSENT
        self._seen: dict[tuple[str, str], tuple[datetime, datetime]] = {}

    def follow(self, subscriptions: Subscriptions) -> None:
        """Publish for *subscriptions* from now on, by the site's catalogue as it is now if that can be read."""
        self._subscriptions = subscriptions
        self._catalogues = read_again(self._settings, self._catalogues)

    def look(self) -> None:
        """Publish what is due, and remember it once the broker has it.  Raises StoreError."""
        now = self._clock()
        for each in self._subscriptions.subscriptions:
            if each.every is None or each.mode == "off":
                continue
            key, due = (each.name, each.every.text), each.every.latest(now)
            done, noted = self._seen.get(key, (None, _LONG_AGO))
            if done == due and now - noted < _REFRESH:
                continue
            # Where the broker does not take it, it is due at the next look.
            if not self._is_due(key, due, now) or self._publish(each.name, due):
                self._remember(key, due, now)

    def _is_due(self, key: tuple[str, str], due: datetime, now: datetime) -> bool:
        """Return whether *due* is a moment that has not been yet; a timer that nobody knows begins with the next."""
        with self._store.reading() as transaction:
            known = _known(transaction, key)
        if not known:
            return False
        last = max(map(ids.moment_of, known))
        if last > now + timedelta(seconds=1):
            facts = {"subscription": key[0], "last": last.isoformat(), "now": now.isoformat()}
            log.warning("the clock is before the last time a timer was due; it goes on from now", extra=facts)
            return False
        return last < due

    def _publish(self, name: str, due: datetime) -> bool:
        """Return whether the broker has taken the event of the timer of *name* that is *due*."""
        event = own_event(
            EVENT,
            {"subscription": name, "due": due.isoformat(timespec="seconds").replace("+00:00", "Z")},
            self._catalogues,
            cluster=self._cluster,
            node=ABSENT,
            id_=_id(name, due),
            moment=due,
        )
        settled, found = threading.Event(), list[Settlement]()

        def note(settlement: Settlement) -> None:
            found.append(settlement)
            settled.set()

        self._broker.call(partial(self._broker.publish, message_of(event, wire=self._wire), note))
        if settled.wait(_CONFIRM) and found == [Settlement.CONFIRMED]:
            return True
        reason = found[0].value if found else "no answer of the broker"
        log.warning("the event of a timer is not published yet", extra={"subscription": name, "reason": reason})
        return False

    def _remember(self, key: tuple[str, str], due: datetime, now: datetime) -> None:
        name, what = key
        with self._store.writing() as transaction:
            lock(transaction)
            mine = _id(name, due)
            known = _known(transaction, key)
            # Another consumer may be further; but what is in the future comes from a clock that was wrong.
            later = [one for one in known if one > mine and ids.moment_of(one) <= now + timedelta(seconds=1)]
            if others := {one for one in known if one != mine} - set(later):
                rates_and_folds.take_back(transaction, name, others, rule=_RULE)
            row = {"subscription": name, "rule": _RULE, "key": what, "event_id": mine, "at": now}
            rates_and_folds.let_pass(transaction, [] if later else [row])
        self._seen[key] = (due, now)


def _known(transaction: Connection, key: tuple[str, str]) -> list[str]:
    """Return the ids of the events of a timer that are remembered: usually one."""
    name, what = key
    passed = rates_and_folds.passed(transaction, name, _RULE, [what], _LONG_AGO)
    return [event_id for rows in passed.values() for _, event_id in rows]


def _id(name: str, due: datetime) -> str:
    return ids.id_at(due, f"{EVENT}/{name}")


@contextmanager
def timing(timers: DueTimers) -> Iterator[None]:
    """Look in a thread of its own once a second, until the block ends."""

    def look() -> None:
        try:
            timers.look()
        except StoreError as error:
            log.warning("timers cannot be looked up; trying again", extra={"reason": str(error)})

    with regularly("timers", _LOOK, look):
        yield
