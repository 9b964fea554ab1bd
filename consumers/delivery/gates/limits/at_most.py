"""The gate of `at_most`: no more than so many deliveries run at once, at each place that is limited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.engine import Connection

from ....deliveries import Key, Outcome, Skipped, bounded
from ....errors import FilterError
from ....policies.guards import AtMost
from ....policies.places import Acting, Place, places_of, shown
from ....policies.retry import raised
from ....store.database import lock
from ....store.limits import taken_places
from ....store.limits.taken_places import Holders
from ....subscriptions.models import Subscription
from ....verbs.interface import Handler
from ...states import Admitted
from ..interface import Answers

_LOOK = timedelta(seconds=5)
"""Between two looks of a delivery that waits for a free place."""

_WORD = "busy"


class AtMostGate:
    """Lets pass as many deliveries as may run, over all consumers of the store; the others wait, or are skipped.

    Only what comes for the first time is skipped.  A retry, a replay, a fold and what has waited before wait: it was
    wanted before, or by a person.
    """

    def __init__(self, subscription: Subscription, handler: Handler, limits: Sequence[AtMost]) -> None:
        """Let so many deliveries run at once as each of *limits* says."""
        self._subscription, self._handler, self._limits = subscription, handler, limits

    @classmethod
    def of(cls, subscription: Subscription, handler: Handler) -> Self | None:
        """Return the gate of a subscription that has such limits."""
        guard = subscription.guard
        return cls(subscription, handler, guard.at_most) if guard and guard.at_most else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Let pass as many as there are free places, and give those to them."""
        lock(transaction)
        answers: dict[Key, Outcome | Admitted] = {}
        wanted: dict[Key, list[tuple[AtMost, Place]]] = {}
        for each in due:
            if not isinstance(each.plan, str) and not each.is_begun:
                answers[each.key] = each.plan
                continue
            try:
                wanted[each.key] = self._places(each)
            except FilterError as error:
                answers[each.key] = raised(each.delivery, error, self._subscription.retry)
        holders = taken_places.holders(transaction, {place for theirs in wanted.values() for _, place in theirs}, now)
        # First those that have begun: they have their places already, or nobody had asked for one when they began.
        for each in sorted(due, key=lambda each: not each.is_begun):
            if each.key not in wanted:
                continue
            full = next((one for one in wanted[each.key] if not _has_room(each, *one, holders)), None)
            if full:
                answers[each.key] = self._refusal(each, *full)
                continue
            theirs = [place for _, place in wanted[each.key]]
            for place in theirs:
                holders[place].now.add(each.key)
            answers[each.key] = each.with_places(theirs)
        return answers

    def _places(self, state: Admitted) -> list[tuple[AtMost, Place]]:
        handler = self._handler
        acting = Acting(state.delivery, handler.action, handler.action_class, state.targets, state.nodes)
        return [(limit, place) for limit in self._limits for place in places_of(limit, acting)]

    def _refusal(self, state: Admitted, limit: AtMost, place: Place) -> Outcome:
        of = self._subscription.name if limit.per == "subscription" else shown(limit, place)
        same = f" with the same {', '.join(limit.by)}" if limit.by else ""
        reason = bounded(f"at_most: {limit.count} of {of}{same} are running")
        if limit.rest == "skip" and state.comes_first:
            return Skipped(_WORD, reason)
        return state.wait(_LOOK, f"{reason}; waits until one ends")


def _has_room(state: Admitted, limit: AtMost, place: Place, holders: Mapping[Place, Holders]) -> bool:
    """Say whether *state* may have *place*; what had it before and lost its lease needs a free one as any other."""
    who = holders[place]
    if state.key in who.now or len(who.now) < limit.count:
        return True
    return state.is_begun and state.key not in who.lost
