"""What happened to an event in each subscription, and why, from the records of the store.  Read-only.

If a subscription has no record of the event, its current definition is evaluated again to find out why.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from router.cluster.facts.views import Known
from router.errors import InvalidEvent
from router.model.events import Event

from ..deliveries import FOLDED
from ..store import audit, queries
from ..store import letters as table
from ..store.database import Store
from ..store.letters import Summary
from ..store.queries import Row

if TYPE_CHECKING:
    from ..subscriptions.models import Subscription, Subscriptions

_MANY = 10_000


@dataclass(frozen=True)
class Trace:
    """The store's records of one event; *event* is None if the store does not contain its body.

    *group_attempts* are the attempts of the groups that the event was folded into, by subscription.
    """

    event_id: str
    event: Event | None = None
    rows: Sequence[Row] = ()
    group_attempts: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    letters: Sequence[Summary] = ()

    @property
    def topic(self) -> str:
        """The topic on which it was published, empty if unknown."""
        if self.event:
            return self.event.topic
        of_deliveries = [each.topic for each in self.letters if each.kind != "record"]
        return next((each.topic for each in self.rows), next(iter(of_deliveries), ""))

    @property
    def is_known(self) -> bool:
        """Whether the store has any record of it."""
        return bool(self.event or self.rows or self.letters)


@dataclass(frozen=True)
class Account:
    """What happened to the event in one subscription.

    *state* is the outcome of the latest attempt (`open` if it has none yet), or why there was no attempt: `pattern`,
    `own`, `filter`, `unclear`, `off`, or `unrecorded` if no reason is known.  *again* is the time of the next attempt,
    *advice* what you can do.
    """

    subscription: str
    state: str
    because: str
    rows: Sequence[Row] = ()
    again: datetime | None = None
    letters: Sequence[Summary] = ()
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the account as plain values."""
        of_letters = ("id", "kind", "reason", "kept_at", "state", "by", "settled_at")
        return {
            "subscription": self.subscription,
            "state": self.state,
            "because": self.because,
            "again": self.again,
            "advice": self.advice,
            "attempts": [each.as_dict() for each in self.rows],
            "letters": [{name: getattr(each, name) for name in of_letters} for each in self.letters],
        }


def trace(store: Store, event_id: str) -> Trace:
    """Return the records of an event in *store*.  Raises StoreError."""
    with store.reading() as transaction:
        rows = queries.find(transaction, event_id=event_id, limit=_MANY)[::-1]
        audited = audit.find(transaction, event_id=event_id)
        letters = table.summaries(transaction, state=None, event_id=event_id, limit=_MANY)[::-1]
        # What was edited in a letter is not what happened: the audit comes first, and the oldest letter.
        unread = (each.id for each in letters if each.kind != "record")
        bodies = itertools.chain((each.body for each in audited), table.bodies(transaction, unread))
        event = next(_events(bodies), None)
        group_attempts: dict[str, Sequence[Row]] = {}
        for each in rows:
            head = each.result.get("head")
            if each.outcome == FOLDED and isinstance(head, str):
                attempts = queries.find(transaction, event_id=head, subscription=each.subscription, limit=_MANY)
                group_attempts[each.subscription] = [row for row in attempts[::-1] if row.replay == FOLDED]
    return Trace(event_id, event, rows, group_attempts, letters)


def _events(bodies: Iterable[bytes]) -> Iterator[Event]:
    for body in bodies:
        try:
            yield Event.from_json(body)
        except InvalidEvent:
            continue


def accounts(known: Trace, subscriptions: Subscriptions, facts: Known | None = None) -> list[Account]:
    """Return the account of each subscription, those too that are gone but have deliveries of the event.

    *facts* are what was known of the event's cluster when it happened.
    """
    rows: dict[str, list[Row]] = {}
    letters: dict[str, list[Summary]] = {}
    for row in known.rows:
        rows.setdefault(row.subscription, []).append(row)
    for letter in known.letters:
        if letter.kind == "delivery":
            letters.setdefault(letter.subscription, []).append(letter)
    found = []
    for each in subscriptions.subscriptions:
        theirs = rows.pop(each.name, []), letters.pop(each.name, [])
        found.append(_account(known, each.name, *theirs) if any(theirs) else _why_not(known, each, facts))
    for name in dict.fromkeys((*rows, *letters)):
        theirs = rows.get(name, []), letters.get(name, [])
        found.append(_account(known, name, *theirs, note="; no file contains this subscription any more"))
    return found


def _account(known: Trace, name: str, rows: Sequence[Row], letters: Sequence[Summary], note: str = "") -> Account:
    kept = [each for each in letters if each.state == "kept"]
    advice = f"clusterbus dead replay {kept[-1].id}" if kept else ""
    group_attempts = known.group_attempts.get(name, ())
    if not rows:
        state = "dead" if kept else letters[-1].state
        return Account(name, state, f"{letters[-1].reason}{note}", letters=letters, advice=advice)
    # A folded event is finished when its group is delivered; replays come after that.
    latest = (*rows, *(each for each in group_attempts if each not in rows))[-1]
    if rows[-1].outcome == FOLDED and group_attempts:
        latest = group_attempts[-1]
    every = [*rows, *(each for each in group_attempts if each not in rows)]
    return Account(name, latest.outcome or "open", f"{_shown(latest)}{note}", every, latest.again, letters, advice)


def _shown(row: Row) -> str:
    which = f"attempt {row.attempt}"
    if row.replay == FOLDED:
        which = f"its group, {which}"
    elif row.replay:
        which = f"replay {row.replay}, {which}"
    reason = f": {row.reason}" if row.reason else ""
    match row.outcome:
        case None:
            return f"{which} has begun, and has no outcome yet"
        case "done":
            return f"{which} is done{reason}"
        case "retry":
            return f"{which} failed{reason}"
        case "dead":
            return f"dead letter after {which}{reason}"
        case "wait":
            return f"{which} waits{reason}"
        case word:
            return f"skipped, {word}{reason}"


def _why_not(known: Trace, subscription: Subscription, facts: Known | None) -> Account:
    from .dry_run import consider  # noqa: PLC0415 - only who has subscriptions needs what they are made of

    if not known.topic:
        return Account(subscription.name, "unclear", "no record, and the event's topic is not known")
    verdict = consider(subscription, known.event, known.topic, facts)
    if not verdict.matched:
        return Account(subscription.name, verdict.decision, verdict.because)
    because = f"no record, although {verdict.because}"
    advice = (
        "it still waits in the queue, or is older than the subscription: `clusterbus subscriptions list` shows queues"
    )
    return Account(subscription.name, "unrecorded", because, advice=advice)
