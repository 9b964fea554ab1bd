"""The gate of `delay`: a delivery waits before its first attempt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.engine import Connection

from ...deliveries import Key, Outcome, is_fold
from ...errors import AlertNotFound
from ...expressions.values.alert_values import is_change
from ...policies.schedules import delays
from ...policies.schedules.delays import Delay
from ...store import attempts
from ...store.alerts import alerts, published_changes
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers


class DelayGate:
    """Makes new deliveries wait in the broker; what they wait for is in the row of their attempt."""

    def __init__(self, delay: Delay) -> None:
        """Wait as *delay* says."""
        self._delay = delay

    @classmethod
    def of(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of a subscription with a delay."""
        return cls(subscription.delay) if subscription.delay else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Make new deliveries wait; skip those that are needed no more after that."""
        answers: dict[Key, Outcome] = {}
        for each in due:
            if not each.is_new or is_fold(each.delivery.replay):
                continue
            left = self._left(transaction, each, now)
            if left > timedelta():
                answers[each.key] = delays.waiting(left, now)
            elif outcome := self._unneeded(transaction, each, now):
                answers[each.key] = outcome
        return answers

    def _left(self, transaction: Connection, each: Admitted, now: datetime) -> timedelta:
        """Return how long a delivery still has to wait.

        No jump of the clock makes that longer than the whole delay.
        """
        event = each.delivery.event
        if not each.has_waited:
            return delays.first_wait(self._delay, event, now)
        rows = attempts.find(transaction, event_id=event.id, subscription=each.key.subscription)
        ends = (delays.end_of(row.reason or "") for row in rows if row.replay == each.key.replay)
        return min(self._delay.wait, max((end - now for end in ends if end), default=timedelta()))

    def _unneeded(self, transaction: Connection, each: Admitted, now: datetime) -> Outcome | None:
        event = each.delivery.event
        if not self._delay.unless or not is_change(event):
            return None
        try:
            alert = alerts.find(transaction, str(event.data["alert"]))
        except AlertNotFound:
            return None  # better once too often than never
        # Better once too often than never: of what an old alert was delivered for, the store may know nothing any more.
        was_notified = not delays.is_alarming(event) and (
            alert.since < now - attempts.ALWAYS_KEPT
            or published_changes.has_delivered(transaction, alert.id, each.key.subscription, event.id)
        )
        return delays.unneeded(self._delay, event, alert.state, was_notified=was_notified)
