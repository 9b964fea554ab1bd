"""The gate of `at_most`: no more than so many deliveries of a subscription run at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.engine import Connection

from ...deliveries import Key, Outcome, Skipped, Waiting
from ...policies.group_keys import key_of
from ...policies.guards import AtMost
from ...store import attempts
from ...store.database import lock
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers

_LOOK = timedelta(seconds=5)
"""Between two looks of a delivery that waits for a free place."""

_WORD = "busy"


class AtMostGate:
    """Lets pass as many deliveries as may run, over all consumers of the store; the others wait, or are skipped.

    Only what comes for the first time is skipped.  A retry, a replay, a fold and what has waited before wait: it was
    wanted before, or by a person.
    """

    def __init__(self, subscription: str, at_most: AtMost) -> None:
        """Let so many deliveries of *subscription* run at once as *at_most* says."""
        self._subscription, self._at_most = subscription, at_most

    @classmethod
    def of(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of a subscription that has such a bound."""
        guard = subscription.guard
        return cls(subscription.name, guard.at_most) if guard and guard.at_most else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Let pass as many as there are free places."""
        lock(transaction)
        # What was begun before has its place already.
        asking = [each for each in due if not each.is_begun]
        ours = {each.key for each in asking}
        running = attempts.running(transaction, self._subscription)
        counted = Counter(each.place for key, each in running.items() if key not in ours and not each.is_gone(now))
        answers: dict[Key, Outcome] = {}
        for each in asking:
            place = key_of(each.delivery.event, self._at_most.by)
            # What an earlier release began has no place, so it counts at every place.
            if counted[place] + counted[None] < self._at_most.count:
                counted[place] += 1
            else:
                answers[each.key] = self._refusal(each)
        return answers

    def _refusal(self, state: Admitted) -> Outcome:
        at_most = self._at_most
        same = f" with the same {', '.join(at_most.by)}" if at_most.by else ""
        reason = f"at_most: {at_most.count} of {self._subscription}{same} are running"
        if at_most.rest == "skip" and state.comes_first:
            return Skipped(_WORD, reason)
        return Waiting(_LOOK, f"{reason}; waits until one ends")
