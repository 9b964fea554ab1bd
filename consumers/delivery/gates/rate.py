"""The gate of `once_per` and `limit`: lets so many deliveries pass in so long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Self

from sqlalchemy.engine import Connection

from ...deliveries import Key, Outcome
from ...policies.group_keys import key_of
from ...policies.throttling import Rate, rates
from ...store import rates_and_folds
from ...store.database import lock
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers


class RateGate:
    """Lets pass what *rate* allows.

    What passes a rate that skips has passed for good, unless another gate skips it afterwards.  What passes one that
    makes the rest wait counts from the moment when it passes last, which is when it is called.
    """

    def __init__(self, subscription: str, rate: Rate) -> None:
        """Count the deliveries of *subscription*."""
        self._subscription, self._rate = subscription, rate

    @classmethod
    def of_once_per(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of `once_per`."""
        return next((cls(subscription.name, each) for each in rates(subscription.once_per, None)), None)

    @classmethod
    def of_limit_that_skips(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of a `limit` that skips the rest."""
        return cls._of_limit(subscription, waits=False)

    @classmethod
    def of_limit_that_waits(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of a `limit` that has the rest wait."""
        return cls._of_limit(subscription, waits=True)

    @classmethod
    def _of_limit(cls, subscription: Subscription, *, waits: bool) -> Self | None:
        of_limit = (each for each in rates(None, subscription.limit) if each.waits is waits)
        return next((cls(subscription.name, each) for each in of_limit), None)

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Let new deliveries pass as far as the rate allows."""
        name, rate = self._subscription, self._rate
        asking = [(each, key_of(each.delivery.event, rate.by)) for each in due if each.is_new]
        if not asking:
            return {}
        lock(transaction)
        wanted = {group_key for _, group_key in asking}
        ids = {each.delivery.event.id for each, _ in asking}
        known = rates_and_folds.passed(transaction, name, rate.word, wanted, now - rate.per)
        for_good = set() if rate.waits else rates_and_folds.have_passed(transaction, name, rate.word, wanted, ids)
        passed: dict[str, list[tuple[datetime, str]]] = defaultdict(list, known)
        answers: dict[Key, Outcome] = {}
        rows = []
        for each, group_key in asking:
            event_id = each.delivery.event.id
            if (group_key, event_id) in for_good:
                continue
            others = [one for one in passed[group_key] if one[1] != event_id]
            if outcome := rate.decide([at for at, _ in others], now):
                answers[each.key] = outcome
                continue
            passed[group_key] = [*others, (now, event_id)]
            rows.append({"subscription": name, "rule": rate.word, "key": group_key, "event_id": event_id, "at": now})
        rates_and_folds.let_pass(transaction, rows)
        return answers

    def take_back(self, transaction: Connection, skipped: Sequence[Admitted]) -> None:
        """Count none of *skipped*, which another gate refused for good: the next of its kind may pass."""
        if lost := {each.delivery.event.id for each in skipped if each.is_new}:
            rates_and_folds.take_back(transaction, self._subscription, lost, rule=self._rate.word)
