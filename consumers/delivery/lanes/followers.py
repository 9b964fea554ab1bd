"""Followers: deliveries behind one of their lane that is put off.  They are put off together, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from ...deliveries import Key
from ...store.database import Store
from ...store.limits import lanes
from ..in_flight import AllInFlight, InFlight
from ..states import Admitted, PutOff, Recorded

_Order = tuple[bool, datetime, str, str]
_LAST = datetime.max.replace(tzinfo=UTC)
"""The place of what has no row yet: it came after all that have one."""


class Followers:
    """Says which deliveries follow one that is put off."""

    def __init__(self, store: Store, in_flight: AllInFlight, clock: Callable[[], datetime]) -> None:
        """Compare places by what *store* has of them; the lanes are those of *in_flight*."""
        self._store, self._in_flight, self._clock = store, in_flight, clock

    def going_on(self, batch: Iterable[InFlight]) -> list[InFlight]:
        """Return those of *batch* that are still here, and ahead of their lanes or behind what is put off."""
        now = self._clock()
        # What was given back since it was put into the batch is not ours any more.
        return [each for each in batch if each in self._in_flight and self._in_flight.goes_on(each, now)]

    def behind(self, in_flight: InFlight, recorded: Recorded) -> list[InFlight]:
        """Return what was held behind *in_flight* and may go on, since *in_flight* has been put off."""
        until = recorded.put_off(self._clock()) if in_flight.lane and not in_flight.is_logged else None
        return self._in_flight.put_off(in_flight, until) if until else []

    def sorted_out(self, admitted: Mapping[InFlight, Admitted]) -> dict[InFlight, Admitted]:
        """Return which of *admitted* go on now; those that follow what is put off know that.  Raises StoreError.

        Of a lane in which one has a place before what is put off, that one goes on, and the others are held.
        """
        groups: dict[PutOff, list[InFlight]] = defaultdict(list)
        for each in admitted:
            if each.lane and (first := self._in_flight.ahead_of(each)):
                groups[first].append(each)
        going = dict(admitted)
        places = self._places(groups) if groups else {}
        for first, members in groups.items():
            orders = {each: _order(places, each.key, has_begun=_has_begun(admitted[each])) for each in members}
            members.sort(key=orders.__getitem__)
            if orders[members[0]] <= _order(places, first.key, has_begun=first.has_begun):
                self._in_flight.hold_behind(members)
                for each in members[1:]:
                    del going[each]
            else:
                going |= {each: admitted[each].with_earlier(first) for each in members}
        return going

    def _places(self, groups: Mapping[PutOff, list[InFlight]]) -> dict[Key, lanes.Place]:
        """Return the places of those of *groups* that have rows, with one query for each subscription."""
        ids: dict[str, set[str]] = defaultdict(set)
        for first, members in groups.items():
            ids[first.key.subscription] |= {first.key.event_id, *(each.key.event_id for each in members)}
        found: dict[Key, lanes.Place] = {}
        with self._store.reading() as transaction:
            for subscription, theirs in ids.items():
                found |= lanes.places(transaction, subscription, theirs)
        return found


def _order(places: Mapping[Key, lanes.Place], key: Key, *, has_begun: bool) -> _Order:
    """Return what the deliveries of a lane are sorted by; of those without a row, the order of arrival stays."""
    place = places.get(key)
    return (not has_begun, place.started, key.event_id, key.replay) if place else (not has_begun, _LAST, "", "")


def _has_begun(admitted: Admitted) -> bool:
    return admitted.is_begun or admitted.delivery.attempt > 1
