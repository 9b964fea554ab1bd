"""Alerts in a store as the engine keeps them, and what keeps them in another system."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import insert

from consumers.alert_receivers.receivers import AlertReceivers
from consumers.deliveries import Outcome
from consumers.delivery.active_subscription import ActiveSubscription, serve
from consumers.policies.retry import RetryPolicy, attempt
from consumers.store.alerts import published_changes
from consumers.store.database import Store
from consumers.store.schema import alert_tables
from consumers.verbs.interface import Surroundings, Verb
from router.database.column_types import inserting
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.settings.models import Settings
from tests.consuming import make_delivery, make_subscription


def publish(store: Store, event: Event) -> Event:
    """Write what the engine writes when it publishes *event*, a change of an alert; return it."""
    data = event.data
    until = datetime.fromisoformat(str(data["until"])) if data["until"] else None
    if data["state"] == "closed" and until is None:
        until = datetime.now(UTC)
    row: dict[str, Any] = {
        "id": data["alert"],
        "key": data["alert"],
        "rule": data["rule"],
        "cluster": event.cluster,
        "node": "",
        "event_node": event.node,
        "nodes": "",
        "is_group": False,
        "about": "[]",
        "state": data["state"],
        "severity": event.severity,
        "summary": data["summary"],
        "until": until,
        "openings": data["openings"],
        "since": datetime.fromisoformat(str(data["since"])),
        "openings_told": 1,
        "opened_by": data["openedBy"],
        "last_opening": data["openedBy"],
        "suppressed": 0,
        "event_type": data["eventType"],
        "change": data["change"],
        "told": True,
        "flapping": False,
        "suppressed_by": data["suppressedBy"],
        "by": data["by"] or "",
        "comment": "",
        "act": "",
        "depth": 1,
    }
    change = {
        "id": event.id,
        "alert": data["alert"],
        "number": data["change"],
        "name": event.name,
        "at": event.moment,
        "cause": data["cause"],
        "by": "",
        "comment": "",
        "why": "",
        "body": event.to_json(),
    }
    with store.writing() as transaction:
        statement = inserting(transaction.dialect.name, alert_tables.alerts).values(row)
        transaction.execute(statement.on_conflict_do_update(index_elements=["id"], set_=row))
        transaction.execute(insert(alert_tables.changes).values(change))
    return event


@dataclass
class Keeping:
    """A consumer with one subscription: *passed* is the time that has passed for what it does regularly."""

    store: Store
    receivers: AlertReceivers
    active: ActiveSubscription
    passed: list[float]

    def deliver(self, event: Event) -> Outcome | None:
        """Publish *event*, and make its first attempt; return the outcome."""
        publish(self.store, event)
        return self.attempt(event)

    def attempt(self, event: Event) -> Outcome | None:
        """Make one attempt to deliver *event*."""
        return attempt(make_delivery(event, self.active.name), self.active.way.handler, RetryPolicy())

    def after(self, seconds: float) -> None:
        """Let time pass, and do what is due then."""
        self.passed[0] += seconds
        self.receivers.work()


@contextmanager
def keeping(
    store: Store, verb: Verb, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC), **fields: Any
) -> Iterator[Keeping]:
    """Yield what keeps the alerts of *store* in the system of *verb*; *fields* are the subscription's."""
    passed = [1000.0]
    receivers = AlertReceivers(store, Catalogues.shipped, clock, lambda: passed[0])
    wanted = {"on": ("alert",), "patterns": ("clusterbus.*.alert.#",), **fields}

    def changes(alert: str) -> tuple[Event, Event] | None:
        with store.reading() as transaction:
            return published_changes.of_alert(transaction, alert)

    surroundings = Surroundings("a", threading.Event(), Settings(), changes=changes)
    active = receivers.noticing(partial(serve))(make_subscription("a", verb, **wanted), surroundings)
    try:
        yield Keeping(store, receivers, active, passed)
    finally:
        active.close()
