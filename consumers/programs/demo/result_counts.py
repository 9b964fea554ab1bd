"""The demo's final count: what each part recorded, and whether anything is lost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from router.model.events import Event
from router.model.topics import matches
from router.pipeline.state import State

from ...alerts.alert_row import AlertRow
from ...expressions.filters import Filter
from ...expressions.values.alert_values import is_change
from ...store import attempts, audit
from ...store.alerts import alerts
from ...store.alerts.alert_rows import OPEN
from ...store.database import Store
from ...subscriptions.models import Subscription


@dataclass(frozen=True, slots=True)
class ResultCounts:
    """The count; *owed* is the number of deliveries that the subscriptions require for the events in the audit.

    *changes* of alerts were told, and *changes_audited* of them are in the audit; subscriptions get them, too.
    """

    captured: int
    spooled: int
    records: int
    copies: int
    events: int
    audited: int
    owed: int
    delivered: int
    retried: int
    dead: int
    changes: int
    changes_audited: int

    @property
    def lost(self) -> int:
        """The number of records, events and deliveries that are missing."""
        return (
            abs(self.captured - self.records)
            + abs(self.events - self.audited)
            + abs(self.changes - self.changes_audited)
            + abs(self.owed - self.delivered - self.dead)
        )

    @property
    def settled(self) -> bool:
        """Whether nothing is lost and no record waits on a node."""
        return self.lost == 0 and self.spooled == 0


def count(
    captured: int, spools: Sequence[Path], state: State, store: Store, subscriptions: Sequence[Subscription]
) -> ResultCounts:
    """Return the count for *captured* calls of capture."""
    facts = state.facts()
    with store.reading() as transaction:
        entries = audit.find(transaction, limit=1_000_000)
        rows = attempts.find(transaction, limit=1_000_000)
        changes = sum(each.told for row in every_alert(transaction) for each in alerts.history(transaction, row.id))
    found = [Event.from_json(each.body) for each in entries]
    own = [each for each in found if each.origin == "gpfs"]
    told = [each for each in found if is_change(each)]
    ids = {each.id for each in (*own, *told)}
    outcomes = Counter(each.outcome for each in rows if each.event_id in ids)
    ended = {(each.event_id, each.subscription): each.outcome for each in reversed(rows) if each.event_id in ids}
    return ResultCounts(
        captured=captured,
        spooled=sum(1 for spool in spools for _ in (spool / "new").iterdir()),
        records=facts.records,
        copies=facts.copies,
        events=facts.events,
        audited=len(own),
        owed=sum(len(owed(event, subscriptions)) for event in (*own, *told)),
        delivered=sum(outcome == "done" for outcome in ended.values()),
        retried=outcomes["retry"],
        dead=sum(outcome == "dead" for outcome in ended.values()),
        changes=changes,
        changes_audited=len(told),
    )


def every_alert(transaction: Connection) -> list[AlertRow]:
    """Return the alerts of the demo, those that opened last first."""
    return alerts.select(transaction, states=(*OPEN, "closed"), limit=1000)


def owed(event: Event, subscriptions: Sequence[Subscription]) -> list[str]:
    """Return the names of the *subscriptions* that must receive *event*."""
    return [each.name for each in subscriptions if _asks(each, event)]


def _asks(subscription: Subscription, event: Event) -> bool:
    bound = any(matches(pattern, event.topic) for pattern in subscription.patterns)
    return bound and (subscription.where is None or Filter(subscription.where).matches(event).matched)
