"""A subscription as it is served: its filter, its handler, its counts.

There are two ways to be served.  `log` is done for a whole batch at once, in the batch's own transaction; everything
else is called for each delivery, in threads of the subscription's own.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from router.broker import topology

from .deliveries import Done
from .filters import Filter
from .flights import Counts, Flight
from .gates import gates_of
from .subscriptions import Subscription
from .verbs import Handler, Surroundings
from .verbs.log import LogHandler

log = logging.getLogger(__name__)

_BATCH = 500
"""Prefetch where a batch costs hardly more than one."""

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
    """Serves a subscription by calling a handler in threads of its own."""

    def __init__(self, handler: Handler, concurrency: int, *, least: int = 0) -> None:
        """Call *handler* for at most *concurrency* deliveries at once; have *least* of them at hand."""
        self.handler = handler
        # A little more than can run, so that none has to wait for the broker; not much, since what a crashing
        # consumer holds counts against all of it.
        self.prefetch = max(2, 2 * concurrency, least)
        self.pool = ThreadPoolExecutor(concurrency, thread_name_prefix="handler")


class Serving:
    """One subscription that is served; *digest* is that of the reading that it is from."""

    def __init__(self, subscription: Subscription, way: Logged | Called) -> None:
        """Serve *subscription* in this *way*."""
        self.subscription, self.way = subscription, way
        self.gates = gates_of(subscription, way.handler) if isinstance(way, Called) else []
        self.digest = ""
        self.is_leaving = False
        self.name = subscription.name
        self.queue = topology.queue_of(subscription.name)
        self.filter = Filter(subscription.where) if subscription.where else None
        self.counts = Counts()

    def close(self) -> None:
        """Let go of what its handler holds; it has no deliveries any more."""
        self.way.handler.close()
        if isinstance(self.way, Called):
            self.way.pool.shutdown(wait=False)


def serve(subscription: Subscription, surroundings: Surroundings) -> Serving:
    """Return how *subscription* is served by its verb.  Raises SubscriptionsError where it can't on this machine."""
    handler = subscription.verb.handler(surroundings)
    if isinstance(handler, LogHandler):
        return Serving(subscription, Logged(handler))
    # Where many come to few calls, or wait behind others, these must not keep the rest from being seen.
    many = subscription.fold or subscription.once_per or subscription.limit or subscription.order_by
    way = Called(handler, subscription.concurrency, least=_MANY if many else 0)
    return Serving(subscription, way)


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
