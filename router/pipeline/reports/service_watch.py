"""Asks the broker how many events each service has missed, and reports those that begin to miss some.

The number is in the state together with the report, so each stretch is reported once, over restarts and by one router
of several.  The router publishes the reports with its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from ...broker.amqp.requests import Facts
from ...broker.client import Rabbit
from ...broker.service_topology import missed_queue
from ...errors import BrokerError, StateError
from ...model.catalogue import Catalogues
from ...model.events import Event, Value
from ...model.ids import id_at
from ...model.topics import ABSENT
from ...services.misses import Misses, ServiceBehind, ServiceBehindEnded
from ..mapping import own_event
from ..state import Changes, State

log = logging.getLogger(__name__)

_PERIOD = timedelta(seconds=10)
_LOOKS = 6
"""How many looks there are at the same services before their names are asked for again: that reads files."""


def _now() -> datetime:
    return datetime.now(UTC)


class ServiceWatch:
    """Looks at the queues of missed events while the broker runs."""

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
        self._last: dict[str, Misses] = {}

    def start(self) -> None:
        """Look for the first time once `broker.run` runs."""
        self._broker.later(timedelta(), self._look)

    def _look(self) -> None:
        if self._looks % _LOOKS == 0:
            self._known = frozenset(self._names())
        self._looks += 1
        for name in self._known:
            self._broker.questions.inspect(
                missed_queue(name),
                lambda answer, name=name: self._seen(name, answer),  # type: ignore[misc]  # its default
            )
        self._broker.later(self._period, self._look)

    def _seen(self, name: str, answer: Facts | BrokerError | None) -> None:
        if not isinstance(answer, Facts):
            # Not applied yet, or a user with the rights of an earlier release: doctor says so.
            return
        moment = self._clock()
        if (last := self._last.get(name)) and last.look(name, answer.messages, moment)[0] == last:
            return  # nearly always: the state need not be asked
        try:
            with self._state.transaction() as transaction:
                before = transaction.misses().get(name, Misses(0, 0, moment))
                after, found = before.look(name, answer.messages, moment)
                if after != before:
                    events = [self._event(found, moment)] if found else []
                    transaction.write(Changes(misses={name: after}, outbox=events), moment)
        except StateError:
            return  # the router says why, and the next look finds the same
        self._last[name] = after
        if found:
            log.warning("a service misses events or has stopped to", extra=asdict(found))

    def _event(self, found: ServiceBehind | ServiceBehindEnded, moment: datetime) -> Event:
        name = "serviceBehind" if isinstance(found, ServiceBehind) else "serviceBehindEnded"
        data: dict[str, Value] = {
            "service": found.service,
            "count": found.count,
            "command": f"clusterbus services replay {found.service} --missed --apply",
        }
        id_ = id_at(moment, f"{name}/{found.service}")
        return own_event(name, data, self._catalogues, cluster=ABSENT, node=ABSENT, id_=id_, moment=moment)
