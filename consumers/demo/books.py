"""The demo's books: what went in has to have come out.  Counts what each part wrote down, and compares."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from router.events import Event
from router.state import State
from router.topics import matches

from ..filters import Filter
from ..store import Store, audit, deliveries
from ..subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Books:
    """The count; *owed* is the number of deliveries that the subscriptions ask for, of the events in the audit."""

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
        """What is missing anywhere on the way."""
        return (
            abs(self.captured - self.records)
            + abs(self.events - self.audited)
            + abs(self.owed - self.delivered - self.dead)
        )

    @property
    def settled(self) -> bool:
        """Whether everything is where it belongs."""
        return self.lost == 0 and self.spooled == 0


def count(
    captured: int, spools: Sequence[Path], state: State, store: Store, subscriptions: Sequence[Subscription]
) -> Books:
    """Return the books for *captured* calls of capture."""
    facts = state.facts()
    with store.reading() as transaction:
        entries = audit.find(transaction, limit=1_000_000)
        rows = deliveries.find(transaction, limit=1_000_000)
    own = [Event.from_json(each.body) for each in entries if each.event.startswith("gpfs.")]
    ids = {each.id for each in own}
    outcomes = Counter(each.outcome for each in rows if each.event_id in ids)
    ended = {(each.event_id, each.subscription): each.outcome for each in reversed(rows) if each.event_id in ids}
    return Books(
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
    """Return the names of the *subscriptions* that ask for *event*."""
    return [each.name for each in subscriptions if _asks(each, event)]


def _asks(subscription: Subscription, event: Event) -> bool:
    bound = any(matches(pattern, event.topic) for pattern in subscription.patterns)
    return bound and (subscription.where is None or Filter(subscription.where).matches(event).matched)
