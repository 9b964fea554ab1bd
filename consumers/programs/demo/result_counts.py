"""The demo's final count: what each part recorded, and whether anything is lost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from router.model.events import Event
from router.model.topics import matches
from router.pipeline.state import State

from ...expressions.filters import Filter
from ...store import attempts, audit
from ...store.database import Store
from ...subscriptions.models import Subscription


@dataclass(frozen=True, slots=True)
class ResultCounts:
    """The count; *owed* is the number of deliveries that the subscriptions require for the events in the audit."""

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

    @property
    def lost(self) -> int:
        """The number of records, events and deliveries that are missing."""
        return (
            abs(self.captured - self.records)
            + abs(self.events - self.audited)
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
    own = [Event.from_json(each.body) for each in entries if each.event.startswith("gpfs.")]
    ids = {each.id for each in own}
    outcomes = Counter(each.outcome for each in rows if each.event_id in ids)
    ended = {(each.event_id, each.subscription): each.outcome for each in reversed(rows) if each.event_id in ids}
    return ResultCounts(
        captured=captured,
        spooled=sum(1 for spool in spools for _ in (spool / "new").iterdir()),
        records=facts.records,
        copies=facts.copies,
        events=facts.events,
        audited=len(own),
        owed=sum(len(owed(event, subscriptions)) for event in own),
        delivered=sum(outcome == "done" for outcome in ended.values()),
        retried=outcomes["retry"],
        dead=sum(outcome == "dead" for outcome in ended.values()),
    )


def owed(event: Event, subscriptions: Sequence[Subscription]) -> list[str]:
    """Return the names of the *subscriptions* that must receive *event*."""
    return [each.name for each in subscriptions if _asks(each, event)]


def _asks(subscription: Subscription, event: Event) -> bool:
    bound = any(matches(pattern, event.topic) for pattern in subscription.patterns)
    return bound and (subscription.where is None or Filter(subscription.where).matches(event).matched)
