"""The gate of folds: gathers events, and lets pass the one delivery that stands for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.engine import Connection

from ...deliveries import FOLDED, Key, Outcome, Skipped, Waiting, is_fold
from ...policies.group_keys import key_of
from ...policies.throttling import Folding, Gathered
from ...store import attempts, rates_and_folds
from ...store.database import lock
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers

_LATE = timedelta(minutes=5)
"""How long after a fold was due, or its delivery was to come again, that counts as lost."""


class FoldGate:
    """Gathers the events of a subscription by *folding*.

    Without *folding*, which may have been removed from the subscription, only what was gathered before is delivered.

    A fold that is due takes more events until it begins, however long other gates make it wait.  If a person has to
    approve it, it takes no more when it is due: what is approved is what is done.  A fold that nobody received in the
    end does not count for `repeat`.
    """

    def __init__(self, subscription: str, folding: Folding | None, *, is_approved: bool = False) -> None:
        """Gather events of *subscription*; *is_approved* says that a person has to approve each delivery."""
        self._subscription, self.folding, self._is_approved = subscription, folding, is_approved

    @classmethod
    def of(cls, subscription: Subscription, _handler: Handler) -> Self:
        """Return the gate, which every subscription has."""
        return cls(subscription.name, subscription.fold, is_approved=subscription.approval is not None)

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Gather new events; let folds that are due pass with all that was gathered."""
        folds = [each for each in due if is_fold(each.delivery.replay)]
        new = [each for each in due if self.folding and not each.delivery.replay and each.is_new]
        if not folds and not new:
            return {}
        lock(transaction)
        if self._is_approved:
            return self._deliver(transaction, folds, now) | self._gather(transaction, new, now)
        # What comes together with a fold that begins belongs to it.
        return self._gather(transaction, new, now) | self._deliver(transaction, folds, now)

    def _deliver(
        self, transaction: Connection, folds: Sequence[Admitted], now: datetime
    ) -> dict[Key, Outcome | Admitted]:
        if not folds:
            return {}
        known = rates_and_folds.by_head(transaction, self._subscription, {each.delivery.event.id for each in folds})
        answers: dict[Key, Outcome | Admitted] = {}
        for each in folds:
            head = each.delivery.event.id
            gathered = known.get(head)
            if gathered and not gathered.count:
                answers[each.key] = Skipped(FOLDED, "this group was overdue: its events moved to a later group")
            elif gathered and gathered.due > now:
                reason = f"{gathered.count} events so far; the group is delivered at {gathered.due:%H:%M:%S}"
                answers[each.key] = Waiting(gathered.due - now, reason)
            elif gathered:
                answers[each.key] = each.with_fold(gathered.fold)
                if self._is_approved:
                    rates_and_folds.mark_delivered(transaction, self._subscription, [head], now)
        return answers

    def close(self, transaction: Connection, due: Sequence[Admitted], answers: Answers, now: datetime) -> None:
        """Take no more events into the folds that begin, now that all gates have given their *answers* about *due*."""
        folds = [each for each in due if is_fold(each.delivery.replay)]
        begun = [each.delivery.event.id for each in folds if not isinstance(answers.get(each.key), Waiting)]
        if begun:
            rates_and_folds.mark_delivered(transaction, self._subscription, begun, now)

    def _gather(self, transaction: Connection, new: Sequence[Admitted], now: datetime) -> dict[Key, Outcome | Admitted]:
        name, folding = self._subscription, self.folding
        if not folding or not new:
            return {}
        group_keys = [key_of(each.delivery.event, folding.by) for each in new]
        open_ = rates_and_folds.gathering(transaction, name, set(group_keys))
        last: Mapping[str, datetime] = {}
        if folding.repeat:
            last = rates_and_folds.last_delivered(transaction, name, set(group_keys), now - folding.repeat)
        waiting = self._waiting(transaction, open_.values(), now)
        answers: dict[Key, Outcome | Admitted] = {}
        for each, group_key in zip(new, group_keys, strict=True):
            event = each.delivery.event
            before = open_.get(group_key) or Gathered(event.id, folding.due(now, last.get(group_key)))
            if before.due + _LATE < now and before.head not in waiting:
                # Its own delivery is lost.  This event takes over, or the fold might never be delivered.
                rates_and_folds.mark_moved(transaction, name, before.head, now)
                before = replace(before, head=event.id, due=folding.due(now, last.get(group_key)))
            open_[group_key] = before.with_event(event)
            then = f"delivered at {before.due:%Y-%m-%d %H:%M:%S}" if before.due > now else "which waits to be delivered"
            reason = f"folded into the group of {before.head}, {then}"
            facts = {"head": before.head, "wait": max(0.0, round((before.due - now).total_seconds(), 3))}
            answers[each.key] = Skipped(FOLDED, reason, facts)
        for group_key, gathered in open_.items():
            rates_and_folds.gather(transaction, name, group_key, gathered)
        return answers

    def _waiting(self, transaction: Connection, open_: Iterable[Gathered], now: datetime) -> set[str]:
        """Return the heads of overdue folds whose delivery another gate makes wait."""
        overdue = [each.head for each in open_ if each.due + _LATE < now]
        if not overdue:
            return set()
        return {
            head
            for head in overdue
            for row in attempts.find(transaction, event_id=head, subscription=self._subscription, replay=FOLDED)
            if row.outcome == attempts.WAIT and row.again and row.again + _LATE > now
        }
