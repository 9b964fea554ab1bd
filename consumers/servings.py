"""A subscription as it is served: its filter, its handler, its counts.

There are two ways to be served.  `log` is done for a whole batch at once, in the batch's own transaction; everything
else is called for each delivery, in threads of the subscription's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from router.broker import topology

from .deliveries import Done
from .filters import Filter
from .flights import Counts, Flight
from .subscriptions import Subscription
from .verbs import Handler, Surroundings
from .verbs.log import LogHandler

_BATCH = 500
"""Prefetch where a batch costs hardly more than one."""


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

    def __init__(self, handler: Handler, concurrency: int) -> None:
        """Call *handler* for at most *concurrency* deliveries at once."""
        self.handler = handler
        # A little more than can run, so that none has to wait for the broker; not much, since what a crashing
        # consumer holds counts against all of it.
        self.prefetch = max(2, 2 * concurrency)
        self.pool = ThreadPoolExecutor(concurrency, thread_name_prefix="handler")


class Serving:
    """One subscription that is served."""

    def __init__(self, subscription: Subscription, way: Logged | Called) -> None:
        """Serve *subscription* in this *way*."""
        self.subscription, self.way = subscription, way
        self.name = subscription.name
        self.queue = topology.queue_of(subscription.name)
        self.filter = Filter(subscription.where) if subscription.where else None
        self.counts = Counts()


def serve(subscription: Subscription, surroundings: Surroundings) -> Serving:
    """Return how *subscription* is served by its verb.  Raises SubscriptionsError where it can't on this machine."""
    handler = subscription.verb.handler(surroundings)
    if isinstance(handler, LogHandler):
        return Serving(subscription, Logged(handler))
    return Serving(subscription, Called(handler, subscription.concurrency))
