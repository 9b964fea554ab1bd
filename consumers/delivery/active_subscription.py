"""A subscription that this consumer serves: its filter, its handler, its gates, its counts.

There are two ways to serve one.  `log` is done for a whole batch at once: its lines by a thread of the subscription,
its audit in the transaction of the outcomes.  Every other verb is called for each delivery, in threads of the
subscription's own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta

from router.broker import topology
from router.model.events import Event
from router.model.topics import matches

from ..deliveries import Delivery, is_own
from ..expressions.facts_cache import ClusterFacts
from ..expressions.filters import Filter, Verdict
from ..policies.enrichment import enriched
from ..policies.group_keys import key_of
from ..subscriptions.fact_use import reads_facts
from ..subscriptions.models import Subscription
from ..verbs.interface import Handler, Surroundings
from ..verbs.log.log_handler import LogHandler
from .gates.open_breaker import has_targets
from .gates.pipeline import Pipeline, gates_of
from .thread_pool import ThreadPool

_BATCH = 500
"""Prefetch where a batch costs hardly more than one delivery."""

_QUICK_PREFETCH = 250
_SHOWN, _MEAN = 100, 50
"""Calls until a handler counts as quick; calls over which their duration is averaged."""

_QUICK, _SLOW = 0.005, 0.05
"""Seconds that a call of a quick handler takes at most, and above which a handler stops counting as quick."""

_PLANNERS = 4
"""Threads that ask the handler what a call would do."""

_MANY = 100
"""Prefetch where most deliveries are not called."""

_REASONS = 100
"""Different reasons that are counted separately, at most."""


@dataclass(slots=True)
class Counts:
    """What became of the arrivals of one subscription since the consumer started.

    *repeated* arrived when their outcome was already recorded, and count nowhere else.  *skipped* are by their words.
    *unmatched* did not pass the filter; *unevaluated* says for how many of them it could not be evaluated, by reason.
    """

    done: int = 0
    retried: int = 0
    dead: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    waited: int = 0
    repeated: int = 0
    duplicates: int = 0
    unreadable: int = 0
    unmatched: int = 0
    unevaluated: Counter[str] = field(default_factory=Counter)

    @property
    def handled(self) -> int:
        """How many attempts have an outcome that is not to wait."""
        return self.done + self.retried + self.dead + self.skipped.total()

    def no_match(self, reason: str) -> None:
        """Count an event that the filter did not let pass; *reason* says why it could not be evaluated, if so."""
        self.unmatched += 1
        if reason:
            is_known = reason in self.unevaluated or len(self.unevaluated) < _REASONS
            self.unevaluated[reason if is_known else "other reasons"] += 1


class Logged:
    """Serves a subscription of the verb `log`."""

    prefetch = _BATCH

    def __init__(self, handler: LogHandler, *, name: str = "log") -> None:
        """Write with *handler*, in a thread of its own if it writes anywhere but to the store.

        *is_audited* says whether to write to the store as well.
        """
        self.handler = handler
        self.is_audited = handler.is_audited
        self.has_lines = handler.has_lines
        self.pool = ThreadPool(1, name)


class Called:
    """Serves a subscription by calling a handler in threads of its own.

    *prefetch* is a little more than can run at once.  It is small for two reasons: a crash counts against everything
    that the consumer holds, and other consumers cannot get what a slow one holds.  A quick handler gets more.
    """

    def __init__(self, handler: Handler, concurrency: int, *, least: int = 0, name: str = "handler") -> None:
        """Call *handler* for at most *concurrency* deliveries at once; prefetch at *least* so many."""
        self.handler = handler
        self._small = self.prefetch = max(2, 2 * concurrency, least)
        # When a target fails, each delivery that was prefetched uses up an attempt.
        self._is_fixed = bool(least) or has_targets(handler)
        self._calls, self._pace = 0, 0.0
        self.pool = ThreadPool(concurrency, name)
        self.planning = ThreadPool(_PLANNERS, f"{name}-plan")

    def note(self, duration: timedelta) -> bool:
        """Note how long a call took; say whether *prefetch* has changed because of it."""
        seconds = duration.total_seconds()
        self._pace += (seconds - self._pace) / min(self._calls + 1, _MEAN)
        self._calls += 1
        before = self.prefetch
        if not self._is_fixed and self._calls >= _SHOWN and self._pace < _QUICK:
            self.prefetch = max(_QUICK_PREFETCH, self._small)
        elif self._pace > _SLOW:
            self.prefetch, self._calls = self._small, 0
        return self.prefetch != before


class ActiveSubscription:
    """One subscription that is served; *digest* is the hash of the subscriptions that it was read with.

    *asks_people* says that a person has to approve its deliveries, *is_planned* that gates ask what its handler
    would do.  *is_ordered* says that the store keeps the lane of its deliveries, *takes_places* that they have places
    while they run.
    """

    def __init__(self, definition: Subscription, way: Logged | Called, facts: ClusterFacts | None = None) -> None:
        """Serve *definition* in this *way*; *facts* has those of clusters."""
        self.definition, self.way = definition, way
        self.gates = Pipeline(gates_of(definition, way.handler) if isinstance(way, Called) else ())
        guard = definition.guard
        self.is_ordered = bool(definition.order_by)
        self.takes_places = isinstance(way, Called) and guard is not None and guard.takes_places
        self.asks_people = definition.approval is not None
        asks_handler = self.asks_people or (guard is not None and guard.asks_for_nodes)
        self.is_planned = isinstance(way, Called) and (asks_handler or has_targets(way.handler))
        self.digest = ""
        self.is_leaving = False
        self.name = definition.name
        self.queue = topology.queue_of(definition.name)
        self._filter = Filter(definition.where) if definition.where else None
        self.counts = Counts()
        # Most subscriptions read no facts, and must not be slower for those that do.
        self._filter_facts = facts if self._filter and self._filter.facts else None
        self._call_facts = facts if isinstance(way, Called) and reads_facts(definition) else None
        if facts and (self._filter_facts or self._call_facts):
            facts.begin()

    def with_facts(self, delivery: Delivery) -> Delivery:
        """Return *delivery* with the present facts of its cluster, where the handler or the guard reads them."""
        if self._call_facts is None:
            return delivery
        return replace(delivery, known=self._call_facts.of(delivery.event.cluster))

    def enriched(self, delivery: Delivery) -> Delivery:
        """Return *delivery* as its handler gets it: with the present facts, and with what the subscription adds."""
        return enriched(self.with_facts(delivery), self.definition.facts, self.definition.meta)

    def lane_of(self, event: Event) -> str:
        """Return what *event* has in common with those that it keeps an order with; empty where there is no order."""
        return key_of(event, self.definition.order_by) if self.definition.order_by else ""

    def lets_pass(self, event: Event) -> bool:
        """Say whether *event* is for the handler; count it where it is not."""
        if is_own(event, self.name) and isinstance(self.way, Called):
            self.counts.no_match("")
            return False
        verdict = self._verdict(event)
        if verdict and not verdict.matched:
            self.counts.no_match(verdict.reason)
            return False
        return True

    def selects(self, event: Event) -> bool:
        """Say whether *event* would come here, and pass the filter; count nothing."""
        if not any(matches(pattern, event.topic) for pattern in self.definition.patterns):
            return False
        verdict = self._verdict(event)
        return verdict is None or verdict.matched

    def _verdict(self, event: Event) -> Verdict | None:
        known = self._filter_facts.of(event.cluster) if self._filter_facts else None
        return self._filter.matches(event, known) if self._filter else None

    def close(self) -> None:
        """Close the handler and end the threads; to be called when no delivery is left."""
        self.way.handler.close()
        self.way.pool.close()
        if isinstance(self.way, Called):
            self.way.planning.close()


def serve(
    definition: Subscription, surroundings: Surroundings, facts: ClusterFacts | None = None
) -> ActiveSubscription:
    """Return *definition* as its verb serves it.  Raises SubscriptionsError where this machine cannot serve it."""
    handler = definition.verb.handler(surroundings)
    if isinstance(handler, LogHandler):
        return ActiveSubscription(definition, Logged(handler, name=definition.name), facts)
    # Where few of many are called, or many wait behind others, a small prefetch would keep the rest from being seen.
    many = definition.fold or definition.once_per or definition.limit or definition.order_by
    way = Called(handler, definition.concurrency, least=_MANY if many else 0, name=definition.name)
    return ActiveSubscription(definition, way, facts)
