"""The metrics of `clusterbus consume`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from router.broker.topology import ALERTS, DEAD, REJECTED, RETRY, RETRY_STEPS, UNROUTED, queue_of
from router.metrics.exposition import Metric, Scrape, Values
from router.metrics.monitoring import Monitoring, Program

from ..deliveries import FOLDED, UNHEARD
from ..delivery.active_subscription import Counts
from ..delivery.metrics.latencies import Latencies, oldest
from ..policies.failure_fingerprints import fingerprint
from ..store import breakers, letters
from ..store.retention import deleted_records
from ..store.retention.old_rows import MOST_OF_PUBLISHER
from . import alert_metrics

if TYPE_CHECKING:
    from router.broker.client import Rabbit
    from router.settings.models import ConsumersSettings

    from ..alert_engine.alert_engine import AlertEngine
    from ..dead_letters.keeper import Keeper
    from ..delivery.engine import Engine
    from ..store.database import Store

_SUBSCRIPTION = ("subscription",)
DELIVERIES = Metric(
    "consumer_deliveries",
    "counter",
    "Outcomes recorded: done, retry, dead, wait, or the word of a skipped delivery, such as silenced.",
    ("subscription", "outcome"),
)
OTHERS = Metric(
    "consumer_other_arrivals",
    "counter",
    "Arrivals that were no new delivery: unmatched (by the filter), unevaluated (the filter failed), repeated (recorded"
    " before), duplicate (under way already), unreadable (no event).",
    ("subscription", "why"),
)
BEGUN = Metric(
    "consumer_published_to_begun_seconds",
    "histogram",
    "From when the router sent an event until its handler was called; only first attempts that no gate delayed.",
    _SUBSCRIPTION,
)
RECORDED = Metric(
    "consumer_begun_to_recorded_seconds",
    "histogram",
    "From the call of a handler until the outcome was recorded, whatever the outcome.",
    _SUBSCRIPTION,
)
SKEWED = Metric(
    "consumer_clock_skew",
    "counter",
    "Deliveries that began before they were published, by the router's clock; they count as 0 s.",
)
UNFINISHED = Metric("consumer_unfinished_deliveries", "gauge", "Deliveries in this consumer's hands.", _SUBSCRIPTION)
OLDEST = Metric(
    "consumer_oldest_delivery_seconds",
    "gauge",
    "Age of the oldest first attempt in this consumer's hands, since its event was published; 0 without any. No event"
    " that still waits in the queue is older.",
    _SUBSCRIPTION,
)
KEPT = Metric("consumer_letters_kept", "counter", "Letters that this consumer stored, by kind.", ("kind",))
LETTERS = Metric("letters_waiting", "gauge", "Letters that wait for a decision.")
LETTERS_OLDEST = Metric("letters_oldest_seconds", "gauge", "Age of the oldest letter that waits; 0 without any.")
FAILURES = Metric(
    "letters_by_failure",
    "gauge",
    "Of the latest 2,000 waiting letters, those of each failure: the 20 most frequent, the rest as `other`. `clusterbus"
    " dead list --failure` lists them.",
    ("kind", "failure"),
)
DELETED = Metric(
    "letters_deleted_records",
    "gauge",
    f"Rejected records that were deleted because the store keeps {MOST_OF_PUBLISHER:,} of each user; those of a user"
    " until a day after the last. `clusterbus doctor` names the users.",
)
BREAKERS = Metric("breakers_open", "gauge", "Circuit breakers that are open.")
BREAKER = Metric("breaker_open", "gauge", "1 for each open circuit breaker, the first 20 by name.", ("target",))
METRICS = (
    DELIVERIES,
    OTHERS,
    BEGUN,
    RECORDED,
    SKEWED,
    UNFINISHED,
    OLDEST,
    KEPT,
    LETTERS,
    LETTERS_OLDEST,
    FAILURES,
    DELETED,
    BREAKERS,
    BREAKER,
    *alert_metrics.METRICS,
)

_WORDS = frozenset({FOLDED, *UNHEARD, "refused", "shadow"})
_LATEST, _SHOWN = 2000, 20
_QUEUES = (*(f"{RETRY}.{step}" for step in RETRY_STEPS), ALERTS, DEAD, REJECTED, UNROUTED)


def monitoring(  # noqa: PLR0913 - each is one collaborator
    settings: ConsumersSettings,
    broker: Rabbit,
    store: Store,
    *,
    engine: Engine,
    keeper: Keeper,
    alerts: AlertEngine,
    latencies: Latencies,
    clock: Callable[[], datetime],
    problem: Callable[[], str],
) -> Monitoring:
    """Return what answers for *engine* at the address in `consumers.metrics`.  Raises SettingsError."""

    def queues() -> Sequence[str]:
        return (*(queue_of(name) for name in engine.counts), *_QUEUES)

    def look() -> Values:
        latencies.keep(engine.counts)
        unfinished = Counter(each.subscription.name for each in engine.in_flight)
        now, since = clock().timestamp(), oldest(engine.in_flight)
        ages = {name: max(0.0, now - moment) for name, moment in since.items()}
        counts, of_alerts = dict(engine.counts), alert_metrics.of_engine(alerts)

        def add(scrape: Scrape) -> None:
            for name, each in counts.items():
                _add_counts(scrape, name, each)
                scrape.add(UNFINISHED, unfinished[name], name)
                scrape.add(OLDEST, ages.get(name, 0.0), name)
            _add_latencies(scrape, latencies)
            for kind, count in keeper.kept.items():
                scrape.add(KEPT, count, kind)
            of_alerts(scrape)

        return add

    program = Program("consume", broker, look, lambda: _read(store, clock()), queues, problem)
    return Monitoring("consumers.metrics", settings.metrics, program)


def _add_counts(scrape: Scrape, name: str, counts: Counts) -> None:
    for outcome, count in _outcomes(counts):
        scrape.add(DELIVERIES, count, name, outcome)
    unevaluated = counts.unevaluated.total()
    whys = {
        "unmatched": counts.unmatched - unevaluated,
        "unevaluated": unevaluated,
        "repeated": counts.repeated,
        "duplicate": counts.duplicates,
        "unreadable": counts.unreadable,
    }
    for why, count in whys.items():
        scrape.add(OTHERS, count, name, why)


def _outcomes(counts: Counts) -> Iterator[tuple[str, int]]:
    yield from (("done", counts.done), ("retry", counts.retried), ("dead", counts.dead), ("wait", counts.waited))
    skipped = Counter[str]()
    for word, count in counts.skipped.copy().items():
        skipped[word if word in _WORDS else "other"] += count
    yield from skipped.items()


def _add_latencies(scrape: Scrape, latencies: Latencies) -> None:
    for name, histogram in latencies.published_to_begun.copy().items():
        scrape.add(BEGUN, histogram, name)
    for name, histogram in latencies.begun_to_recorded.copy().items():
        scrape.add(RECORDED, histogram, name)
    skewed = sum(each.negative for each in latencies.published_to_begun.copy().values())
    scrape.add(SKEWED, skewed)


def _read(store: Store, now: datetime) -> Values:
    with store.reading() as transaction:
        waiting, since = letters.count_kept(transaction)
        failures = Counter((kind, fingerprint(why)) for kind, why in letters.newest_failures(transaction, _LATEST))
        count, targets = breakers.open_now(transaction, now, _SHOWN)
        deleted = deleted_records.total(transaction)
        of_alerts = alert_metrics.of_store(transaction, now)

    def add(scrape: Scrape) -> None:
        scrape.add(LETTERS, waiting)
        scrape.add(LETTERS_OLDEST, max(0.0, (now - since).total_seconds()) if since else 0.0)
        frequent = failures.most_common(_SHOWN)
        for (kind, failure), number in frequent:
            scrape.add(FAILURES, number, kind, failure)
        if len(failures) > _SHOWN:
            scrape.add(FAILURES, failures.total() - sum(number for _, number in frequent), "", "other")
        scrape.add(DELETED, deleted)
        scrape.add(BREAKERS, count)
        for target in targets:
            scrape.add(BREAKER, 1, target)
        of_alerts(scrape)

    return add
