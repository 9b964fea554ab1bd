"""Asks the broker how many events wait for each service and how many it missed; reports those that begin to miss some.

What was missed is in the state together with the report, so each stretch is reported once, over restarts and by one
router of several.  The router publishes the reports with its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

from ...broker.amqp.requests import Facts, Head
from ...broker.client import Rabbit
from ...broker.service_topology import missed_queue, service_queues
from ...errors import BrokerError, StateError
from ...model.catalogue import Catalogues
from ...model.events import Event, Value
from ...model.ids import id_at, is_id
from ...model.records import written
from ...model.topics import ABSENT
from ...services.backlog import Backlog, backlog
from ...services.misses import Misses, ServiceBehind, ServiceBehindEnded
from ...services.replay import facts
from ..mapping import own_event
from ..state import Changes, State

log = logging.getLogger(__name__)

_PERIOD = timedelta(seconds=10)
_LOOKS = 6
"""How many looks there are at the same services before their names are asked for again: that reads files."""

_LONGEST_TIME = 40
"""Characters of the time of an event: more is none."""


def _now() -> datetime:
    return datetime.now(UTC)


class ServiceWatch:
    """Looks at the queues of services while the broker runs; *backlogs* is what it saw last, by service."""

    def __init__(
        self,
        broker: Rabbit,
        state: State,
        catalogues: Catalogues,
        names: Callable[[], Collection[str]],
        *,
        clock: Callable[[], datetime] = _now,
        period: timedelta = _PERIOD,
    ) -> None:
        """Look at the services that *names* returned lately, every *period*."""
        self._broker, self._state, self._catalogues = broker, state, catalogues
        self._names, self._clock, self._period = names, clock, period
        self._looks, self._known = 0, frozenset[str]()
        self._asked: set[str] = set()
        self._last: dict[str, Misses] = {}
        self._emptied: dict[str, datetime] = {}
        self._missed: dict[str, int] = {}
        self.backlogs: dict[str, Backlog] = {}

    def start(self) -> None:
        """Look for the first time once `broker.run` runs."""
        self._broker.later(timedelta(), self._look)

    def _look(self) -> None:
        if self._looks % _LOOKS == 0:
            self._known = frozenset(self._names())
            for name in self.backlogs.keys() - self._known:
                del self.backlogs[name]
        self._looks += 1
        for name in self._known - self._asked:
            self._asked.add(name)
            self._ask(name, service_queues(name), {})
        self._broker.later(self._period, self._look)

    def _ask(self, name: str, left: Sequence[str], known: dict[str, object]) -> None:
        """Ask about the queues *left* of service *name*, one after another, and look at what all are *known* to hold.

        What it missed is asked first: what is dropped meanwhile is not taken for events that it has had.
        """
        if not left:
            self._asked.discard(name)
            self._seen(name, self._steady(name, known))
            return
        queue = left[0]

        def take(answer: Facts | BrokerError | None) -> None:
            known[queue] = answer
            self._ask(name, left[1:], known)

        self._broker.questions.inspect(queue, take)

    def _steady(self, name: str, known: Mapping[str, object]) -> Backlog | None:
        """Return what is *known*, as it was before where somebody looks at what was missed, which is out meanwhile.

        Whoever consumes is among the facts.  Whoever takes one message and returns it is not, so fewer are fewer only
        at the second look.
        """
        found, facts = backlog(name, known), known.get(missed_queue(name))
        if found is None or not isinstance(facts, Facts):
            return None
        if facts.consumers:
            return self.backlogs.get(name)
        before, self._missed[name] = self._missed.get(name, 0), found.missed
        return replace(found, missed=max(found.missed, before))

    def _seen(self, name: str, found: Backlog | None) -> None:
        if found is None:
            # Not applied yet, or a user with the rights of an earlier release: doctor says so.
            self.backlogs.pop(name, None)
            return
        moment = self._clock()
        self.backlogs[name] = found
        if not (found.messages or found.missed or found.has_lost):
            self._emptied[name] = moment
        last = self._last.get(name, Misses(0, 0, moment))
        after, report = self._after(name, last, found, moment)
        if name in self._last and after == last:
            return  # nearly always: the state need not be asked
        if not report:
            self._write(name, found, moment, None)
            return

        def take(head: Head | BrokerError | None) -> None:
            self._asked.discard(name)
            self._write(name, found, moment, head if isinstance(head, Head) else None)

        self._asked.add(name)  # until it is written: the next look might be of other numbers
        self._broker.questions.head(missed_queue(name), take)

    def _after(
        self, name: str, before: Misses, found: Backlog, moment: datetime
    ) -> tuple[Misses, ServiceBehind | ServiceBehindEnded | None]:
        remembered = before.remember(self._emptied.get(name), found, moment)
        return remembered.look(name, found.missed, moment)

    def _write(self, name: str, found: Backlog, moment: datetime, first: Head | None) -> None:
        try:
            with self._state.transaction() as transaction:
                before = transaction.misses().get(name, Misses(0, 0, moment))
                after, report = self._after(name, before, found, moment)
                if after != before:
                    events = [self._event(report, after, moment, first)] if report else []
                    transaction.write(Changes(misses={name: after}, outbox=events), moment)
        except StateError:
            return  # the router says why, and the next look finds the same
        self._last[name] = after
        if report:
            log.warning("a service misses events or has stopped to", extra=asdict(report))

    def _event(
        self, found: ServiceBehind | ServiceBehindEnded, known: Misses, moment: datetime, first: Head | None
    ) -> Event:
        name = "serviceBehind" if isinstance(found, ServiceBehind) else "serviceBehindEnded"
        data: dict[str, Value] = {
            "service": found.service,
            "count": found.count,
            "command": f"clusterbus services replay {found.service} --missed --apply",
        }
        if first and is_id(first.id) and len(time := facts(first)["time"]) <= _LONGEST_TIME:
            data |= {"firstEventId": first.id, "firstEventTime": time}
        if known.emptied:
            data["emptiedAt"] = written(known.emptied)
        if isinstance(found, ServiceBehindEnded):
            data["lastMissedAt"] = written(found.until)
        id_ = id_at(moment, f"{name}/{found.service}")
        return own_event(name, data, self._catalogues, cluster=ABSENT, node=ABSENT, id_=id_, moment=moment)
