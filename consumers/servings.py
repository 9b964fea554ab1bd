"""A subscription as it is served: its filter, its handler, its counts.

There are two ways to be served.  `log` is done for a whole batch at once, in the batch's own transaction; everything
else is called for each delivery, in threads of the subscription's own.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from router.broker import topology
from router.events import Event

from .deliveries import Delivery, Done
from .filters import Filter
from .flights import Counts, Flight
from .gates import gates_of
from .knowledge import Knows, reads_facts
from .pools import Pool
from .subscriptions import Subscription
from .telling import is_own
from .verbs import Handler, Surroundings
from .verbs.log import LogHandler

log = logging.getLogger(__name__)

_BATCH = 500
"""Prefetch where a batch costs hardly more than one."""

_QUICK_PREFETCH = 250
_SHOWN, _MEAN = 100, 50
"""Calls until a handler counts as quick; calls over which their length is averaged."""

_QUICK, _SLOW = 0.005, 0.05
"""Seconds that a quick handler takes at the most, and above which it is one no more."""

_MANY = 100
"""Prefetch where most deliveries are not called."""


class Logged:
    """Serves a subscription of the verb `log`."""

    prefetch = _BATCH

    def __init__(self, handler: LogHandler) -> None:
        """Write with *handler*; whether to the store as well is *is_audited*."""
        self.handler = handler
        self.is_audited = handler.is_audited

    def write(self, flights: Sequence[Flight]) -> None:
        """Write the events of *flights* to the file and give them their outcome; raises OSError, and then to none."""
        self.handler.write([flight.delivery for flight in flights])
        for flight in flights:
            flight.outcome = Done()


class Called:
    """Serves a subscription by calling a handler in threads of its own.

    *prefetch* is a little more than can run: not much, since what a consumer holds when it crashes counts against all
    of it, and what it holds while it is slow nobody else gets.  A handler that has shown itself to be quick gets more.
    """

    def __init__(self, handler: Handler, concurrency: int, *, least: int = 0, name: str = "handler") -> None:
        """Call *handler* for at most *concurrency* deliveries at once; have *least* of them at hand."""
        self.handler = handler
        self._small = self.prefetch = max(2, 2 * concurrency, least)
        # What depends on a target may find it gone: then all that is at hand would use an attempt up.
        self._is_fixed = bool(least) or type(handler).targets is not Handler.targets
        self._calls, self._pace = 0, 0.0
        self.pool = Pool(concurrency, name)

    def note(self, duration: timedelta) -> bool:
        """Note how long a call took; say whether *prefetch* is another from now on."""
        seconds = duration.total_seconds()
        self._pace += (seconds - self._pace) / min(self._calls + 1, _MEAN)
        self._calls += 1
        before = self.prefetch
        if not self._is_fixed and self._calls >= _SHOWN and self._pace < _QUICK:
            self.prefetch = max(_QUICK_PREFETCH, self._small)
        elif self._pace > _SLOW:
            self.prefetch, self._calls = self._small, 0
        return self.prefetch != before


class Serving:
    """One subscription that is served; *digest* is that of the reading that it is from.

    What is not finished of one that *is_counted* is asked for again and again.
    """

    def __init__(self, subscription: Subscription, way: Logged | Called, knowledge: Knows | None = None) -> None:
        """Serve *subscription* in this *way*; *knowledge* is what is known of clusters."""
        self.subscription, self.way = subscription, way
        self.gates = gates_of(subscription, way.handler) if isinstance(way, Called) else []
        guard = subscription.guard
        self.is_counted = bool(subscription.order_by or (guard and guard.at_most))
        self.digest = ""
        self.is_leaving = False
        self.name = subscription.name
        self.queue = topology.queue_of(subscription.name)
        self._filter = Filter(subscription.where) if subscription.where else None
        self.counts = Counts()
        # Most read no facts, and are not to be slower for those that do.
        self._filter_knows = knowledge if self._filter and self._filter.facts else None
        self._call_knows = knowledge if isinstance(way, Called) and reads_facts(subscription) else None
        if knowledge and (self._filter_knows or self._call_knows):
            knowledge.begin()

    def informed(self, delivery: Delivery) -> Delivery:
        """Return *delivery* with what is known of its cluster now, where its handler or guard reads that."""
        if self._call_knows is None:
            return delivery
        return replace(delivery, known=self._call_knows.of(delivery.event.cluster))

    def lets_pass(self, event: Event) -> bool:
        """Say whether *event* is for the handler; where it is not, it is counted, with the reason if there is one."""
        if is_own(event, self.name) and isinstance(self.way, Called):
            self.counts.no_match("")
            return False
        known = self._filter_knows.of(event.cluster) if self._filter_knows else None
        verdict = self._filter.matches(event, known) if self._filter else None
        if verdict and not verdict.matched:
            self.counts.no_match(verdict.reason)
            return False
        return True

    def close(self) -> None:
        """Let go of what its handler holds; it has no deliveries any more."""
        self.way.handler.close()
        if isinstance(self.way, Called):
            self.way.pool.close()


def serve(subscription: Subscription, surroundings: Surroundings, knowledge: Knows | None = None) -> Serving:
    """Return how *subscription* is served by its verb.  Raises SubscriptionsError where it can't on this machine."""
    handler = subscription.verb.handler(surroundings)
    if isinstance(handler, LogHandler):
        return Serving(subscription, Logged(handler), knowledge)
    # Where many come to few calls, or wait behind others, these must not keep the rest from being seen.
    many = subscription.fold or subscription.once_per or subscription.limit or subscription.order_by
    way = Called(handler, subscription.concurrency, least=_MANY if many else 0, name=subscription.name)
    return Serving(subscription, way, knowledge)


def write_logged(due: Iterable[Flight]) -> list[Flight]:
    """Have what is logged written, and give it its outcome; return what waits because its file can't be written."""
    logged: dict[Logged, list[Flight]] = defaultdict(list)
    waiting: list[Flight] = []
    for flight in due:
        if isinstance(way := flight.serving.way, Logged):
            logged[way].append(flight)
    for way, flights in logged.items():
        try:
            way.write(flights)
        except OSError as error:
            facts = {"subscription": flights[0].serving.name, "reason": str(error), "deliveries": len(flights)}
            log.error("log file cannot be written, its deliveries wait", extra=facts)  # noqa: TRY400 - the reason says it all
            waiting += flights
    return waiting
