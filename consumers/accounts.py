"""Accounts of an event: for each subscription what became of it, and why, from what is recorded; nothing is changed.

Where nothing is recorded, what the subscription is today is asked again: then it says why not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from router.errors import InvalidEvent
from router.events import Event
from router.facts import Known

from .deliveries import FOLDED
from .rehearsal import consider
from .store import Store, attempts, audit
from .store import letters as table
from .store.attempts import Row
from .store.letters import Letter
from .subscriptions import Subscription, Subscriptions

_MANY = 10_000


@dataclass(frozen=True)
class Trace:
    """What the store knows of one event; *event* is None where its body is nowhere in it.

    *tellers* are the attempts of the deliveries that it was folded into, by subscription.
    """

    event_id: str
    event: Event | None = None
    rows: Sequence[Row] = ()
    tellers: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    letters: Sequence[Letter] = ()

    @property
    def topic(self) -> str:
        """Where it was published, empty where that is not known."""
        if self.event:
            return self.event.topic
        of_deliveries = [each.topic for each in self.letters if each.kind != "record"]
        return next((each.topic for each in self.rows), next(iter(of_deliveries), ""))

    @property
    def is_known(self) -> bool:
        """Whether there is any trace of it."""
        return bool(self.event or self.rows or self.letters)


@dataclass(frozen=True)
class Account:
    """What became of the event in one subscription.

    *state* is the outcome of its latest attempt (`open` where it has none), or why there was none: `pattern`, `filter`,
    `unclear`, `off`; `unrecorded` where nothing speaks against it.  *again* is when it comes again, *advice* what can
    be done.
    """

    subscription: str
    state: str
    because: str
    rows: Sequence[Row] = ()
    again: datetime | None = None
    letters: Sequence[Letter] = ()
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        of_letters = ("id", "kind", "reason", "kept_at", "state", "by", "settled_at")
        return {
            "subscription": self.subscription,
            "state": self.state,
            "because": self.because,
            "again": self.again,
            "advice": self.advice,
            "attempts": [_plain(each) for each in self.rows],
            "letters": [{name: getattr(each, name) for name in of_letters} for each in self.letters],
        }


def _plain(row: Row) -> dict[str, Any]:
    facts = asdict(row)
    del facts["delay"]
    return facts | {"again": row.again}


def trace(store: Store, event_id: str) -> Trace:
    """Return what *store* knows of an event.  Raises StoreError."""
    with store.reading() as transaction:
        rows = attempts.find(transaction, event_id=event_id, limit=_MANY)[::-1]
        audited = audit.find(transaction, event_id=event_id)
        letters = table.find(transaction, state=None, event_id=event_id, limit=_MANY)[::-1]
        tellers: dict[str, Sequence[Row]] = {}
        for each in rows:
            head = each.result.get("head")
            if each.outcome == FOLDED and isinstance(head, str):
                told = attempts.find(transaction, event_id=head, subscription=each.subscription, limit=_MANY)
                tellers[each.subscription] = [row for row in told[::-1] if row.replay == FOLDED]
    # What was edited in a letter is not what happened: the audit comes first, and the oldest letter.
    bodies = [each.body for each in audited] + [each.body for each in letters if each.kind != "record"]
    return Trace(event_id, next(_events(bodies), None), rows, tellers, letters)


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
    letters: dict[str, list[Letter]] = {}
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
        found.append(_account(known, name, *theirs, note="; it is in no file any more"))
    return found


def _account(known: Trace, name: str, rows: Sequence[Row], letters: Sequence[Letter], note: str = "") -> Account:
    kept = [each for each in letters if each.state == "kept"]
    advice = f"clusterbus dead replay {kept[-1].id}" if kept else ""
    tellers = known.tellers.get(name, ())
    if not rows:
        state = "dead" if kept else letters[-1].state
        return Account(name, state, f"{letters[-1].reason}{note}", letters=letters, advice=advice)
    # What was folded is through when it is told, and replays come after that.
    latest = (*rows, *(each for each in tellers if each not in rows))[-1]
    if rows[-1].outcome == FOLDED and tellers:
        latest = tellers[-1]
    every = [*rows, *(each for each in tellers if each not in rows)]
    return Account(name, latest.outcome or "open", f"{_told(latest)}{note}", every, latest.again, letters, advice)


def _told(row: Row) -> str:
    which = f"attempt {row.attempt}"
    if row.replay == FOLDED:
        which = f"the fold that it is told in, {which}"
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
            return f"given up after {which}{reason}"
        case "wait":
            return f"{which} waits{reason}"
        case word:
            return f"skipped, {word}{reason}"


def _why_not(known: Trace, subscription: Subscription, facts: Known | None) -> Account:
    if not known.topic:
        return Account(subscription.name, "unclear", "nothing is recorded, and the event's topic is not known")
    verdict = consider(subscription, known.event, known.topic, facts)
    if not verdict.matched:
        return Account(subscription.name, verdict.decision, verdict.because)
    because = f"nothing is recorded, though {verdict.because}"
    advice = (
        "it is in the queue still, or came before the subscription did: `clusterbus subscriptions list` shows queues"
    )
    return Account(subscription.name, "unrecorded", because, advice=advice)
