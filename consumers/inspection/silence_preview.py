"""What a silence would mute: which subscriptions, and how many of the latest events.

The events are those of the store's audit, read newest first, a few at a time, up to a limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy.engine import Connection

from router.errors import InvalidEvent
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.model.topics import matches
from router.settings.models import Settings
from router.sources.event_selectors import select

from ..config.event_samples import Kinds, Samples
from ..config.registrations import Registrations
from ..errors import FilterError
from ..expressions.filters import Filter
from ..expressions.type_checks import checker
from ..expressions.type_checks.event_domains import Selected
from ..store import audit
from ..subscriptions import semantic_checks
from ..subscriptions.expression_checks import Stages, selected
from ..subscriptions.models import Subscription

MOST = 10_000
"""The largest number of events that are looked at."""

OCTETS = 64 * 2**20
"""The largest size of all events that are looked at, about."""


@dataclass(frozen=True, slots=True)
class Preview:
    """Of the events since *since*, *looked_at* were read, and *matched* match the silence.

    *muted* counts the matching events by the subscription that would have notified people of them.  *is_complete* is
    False if the limits left out older events; *since* is then the time of the oldest event that was read.
    """

    since: str
    looked_at: int = 0
    matched: int = 0
    muted: Mapping[str, int] = field(default_factory=dict)
    is_complete: bool = True

    @property
    def sentence(self) -> str:
        """The preview in words.

        >>> Preview("2026-11-20T12:00:00+00:00", 1204, 12, {"mail": 10}).sentence
        'it matches 12 of the 1204 events of the last day; muted would have been: mail 10'
        """
        if not self.looked_at:
            return "how many events it matches is not known: no `log` subscription has kept an event of the last day"
        which = "of the last day" if self.is_complete else f"looked at, the newest ones, since {self.since}"
        muted = ", ".join(f"{name} {count}" for name, count in sorted(self.muted.items()))
        then = f"; muted would have been: {muted}" if muted else ""
        return f"it matches {self.matched} of the {self.looked_at} events {which}{then}"


def mistakes(where: str, catalogues: Catalogues, settings: Settings) -> list[str]:
    """Return what is wrong with the filter of a silence, which may meet an event of any type."""
    if not where.strip():
        return ["is empty: write true to mute all notifications"]
    try:
        if Filter(where).facts:
            return ["a silence cannot use facts about the cluster: use only the event"]
    except FilterError as error:
        return [str(error)]
    types = [each for catalogue in catalogues.values() for each in catalogue.events.values()]
    kinds = Kinds.of(types, Samples(Registrations.of_site(catalogues, settings)))
    entry = {"where": where}
    remarks = semantic_checks.check(entry, None, Stages.of(entry, kinds))
    # Warnings say that some types never match, which is so for most types.
    return [each.message for each in remarks if not each.warning]


def here(
    where: str, subscriptions: Sequence[Subscription], catalogues: Catalogues, settings: Settings
) -> tuple[list[str], list[str]]:
    """Return why the valid filter *where* matches none of the events that come to *subscriptions*, and what is unusual.

    The reasons are empty if it can match one: then some of its parts may not.
    """
    samples = Samples(Registrations.of_site(catalogues, settings))
    compiled = Filter(where)
    patterns = [pattern for each in subscriptions for pattern in each.patterns]
    kinds, events = _events(patterns, samples)
    # What is true for all of them is meant: it mutes the subscription as a whole.
    unmet = [each.message for each in checker.check(compiled, events) if not each.is_always]
    if not any(_can_mute(compiled, each, samples) for each in subscriptions):
        unknown = [wrong for name in compiled.variables if (wrong := kinds.unknown(name))]
        return unknown or unmet or ["`where` of the subscription leaves out all such events"], []
    entry = {"on": patterns, "where": where}
    remarks = semantic_checks.check(entry, None, Stages.of(entry, kinds))
    return [], list(dict.fromkeys([*unmet, *(each.message for each in remarks if each.warning)]))


def _events(patterns: Sequence[str], samples: Samples) -> tuple[Kinds, Selected]:
    catalogues = samples.registrations.catalogues
    types = {each.type: each for pattern in patterns for each in select(pattern, catalogues).types}
    kinds = Kinds.of(types.values(), samples)
    return kinds, replace(selected(list(patterns), kinds), may_be_all=True)


def _can_mute(compiled: Filter, subscription: Subscription, samples: Samples) -> bool:
    filters = [*([Filter(subscription.where)] if subscription.where else []), compiled]
    _, events = _events(subscription.patterns, samples)
    return any(checker.may_all_match(filters, names) for names in events.names.values())


def muted_by(name: str, subscriptions: Iterable[Subscription]) -> list[Subscription]:
    """Return the *subscriptions* that a silence for *name* mutes; an empty name means all that notify people."""
    return [each for each in subscriptions if each.verb.tells and name in ("", each.name)]


def preview(
    transaction: Connection,
    where: str,
    subscriptions: Sequence[Subscription],
    since: datetime,
    *,
    most: int = MOST,
    octets: int = OCTETS,
) -> Preview:
    """Return how many events since *since* match *where*, and which of *subscriptions* they would have come to."""
    asked = Filter(where)
    filters = {each.name: Filter(each.where) if each.where else None for each in subscriptions}
    muted: Counter[str] = Counter()
    looked_at = matched = size = 0
    oldest, is_complete = "", not audit.has_older(transaction, since, newest=most)
    for entry in audit.newest(transaction, since, rows=most):
        looked_at, size, oldest = looked_at + 1, size + len(entry.body), entry.time
        if (event := _event(entry)) and asked.matches(event).matched:
            matched += 1
            muted.update(each.name for each in subscriptions if _comes_to(each, filters[each.name], event, entry.topic))
        if size >= octets:
            is_complete = False
            break
    return Preview(since.isoformat() if is_complete else oldest, looked_at, matched, dict(muted), is_complete)


def _event(entry: audit.Entry) -> Event | None:
    try:
        return Event.from_json(entry.body)
    except InvalidEvent:
        # Of another release, or changed: `doctor` finds that.
        return None


def _comes_to(subscription: Subscription, where: Filter | None, event: Event, topic: str) -> bool:
    if subscription.mode == "off" or not any(matches(each, topic) for each in subscription.patterns):
        return False
    # The facts of then are not read here: such an event counts.
    return where is None or bool(where.facts) or where.matches(event).matched
