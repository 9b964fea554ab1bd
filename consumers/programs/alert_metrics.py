"""The metrics of alerts in `clusterbus consume`."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from sqlalchemy.engine import Connection

from router.metrics.exposition import Metric, Scrape, Values

from ..alert_engine.alert_engine import AlertEngine
from ..store.alerts import alerts, outbox, receiver_health

OPEN = Metric(
    "alerts_open",
    "gauge",
    "Alerts that are open or acknowledged, of the 50 rules that have most of them; the others as rule `other`.",
    ("rule", "severity", "state"),
)
UNPUBLISHED = Metric(
    "alerts_oldest_unpublished_seconds", "gauge", "Age of the oldest change that is not published; 0 without any."
)
EVENTS = Metric("alerts_events", "counter", "Events that this consumer read to open and close alerts.")
UNREADABLE = Metric("alerts_unreadable_events", "counter", "Messages among these that were no events.")
LEFT_OUT = Metric(
    "alerts_left_out", "counter", "Alerts that events would have opened beyond 300 of a rule for one event."
)
CHANGES = Metric("alerts_changes_published", "counter", "Changes of alerts that this consumer published.")
LAG = Metric("alerts_lag_seconds", "gauge", "Age of the last event when this consumer wrote what it opens and closes.")
ACTIVE = Metric("alerts_active", "gauge", "1 in the one consumer that keeps alerts, 0 in those that stand by.")
_RECEIVER = ("subscription", "purpose", "receiver")
FAILING = Metric(
    "alert_receiver_failing",
    "gauge",
    "1 while an address fails where open alerts are sent again (purpose `send`) or that is asked what people did"
    " (`follow`), whichever consumer calls it; of the first 50, those before that fail.",
    _RECEIVER,
)
UNANSWERED = Metric(
    "alert_receiver_last_success_seconds",
    "gauge",
    "Seconds since such an address answered last; since the first failure if it never has.",
    _RECEIVER,
)
METRICS = (OPEN, UNPUBLISHED, EVENTS, UNREADABLE, LEFT_OUT, CHANGES, LAG, ACTIVE, FAILING, UNANSWERED)

_RULES = _RECEIVERS = 50


def of_engine(engine: AlertEngine) -> Values:
    """Return what *engine* has counted so far."""
    counts, published, is_active = engine.counts, engine.published, engine.is_active

    def add(scrape: Scrape) -> None:
        scrape.add(EVENTS, counts.received)
        scrape.add(UNREADABLE, counts.unreadable)
        scrape.add(LEFT_OUT, counts.left_out)
        scrape.add(CHANGES, published)
        scrape.add(LAG, counts.lag)
        scrape.add(ACTIVE, int(is_active))

    return add


def of_store(transaction: Connection, now: datetime) -> Values:
    """Return what the store says of alerts *now*."""
    found, waits = alerts.count_open(transaction), outbox.oldest_unpublished(transaction)
    receivers = receiver_health.find(transaction, _RECEIVERS)
    by_rule = Counter[str]()
    for (rule, _, _), number in found.items():
        by_rule[rule] += number
    shown = {rule for rule, _ in by_rule.most_common(_RULES)}
    bounded = Counter[tuple[str, str, str]]()
    for (rule, severity, state), number in found.items():
        bounded[rule if rule in shown else "other", severity, state] += number

    def add(scrape: Scrape) -> None:
        for labels, number in bounded.items():
            scrape.add(OPEN, number, *labels)
        scrape.add(UNPUBLISHED, max(0.0, (now - waits).total_seconds()) if waits else 0.0)
        for each in receivers:
            names = (each.subscription, each.purpose, each.address)
            last = each.succeeded or each.failing_since or each.tried
            scrape.add(FAILING, int(each.failing_since is not None), *names)
            scrape.add(UNANSWERED, max(0.0, (now - last).total_seconds()), *names)

    return add
