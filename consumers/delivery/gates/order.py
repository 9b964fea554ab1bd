"""The gate of `order_by`: a delivery waits for the earlier ones of its lane."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.engine import Connection

from ...deliveries import Key, Outcome, Waiting
from ...store.limits import lanes
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers

_EACH = timedelta(milliseconds=100)
"""How long a delivery waits for each one before it: those far back in a long lane ask seldom."""


class OrderGate:
    """Makes a delivery wait in the broker for the earlier ones of its lane that are to be attempted again."""

    def __init__(self, subscription: str) -> None:
        """Keep the order of the lanes of *subscription*."""
        self._subscription = subscription

    @classmethod
    def of(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of a subscription that has an order."""
        return cls(subscription.name) if subscription.order_by else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Make deliveries wait that have not begun and have an unfinished one before them.

        The order is that of their arrival at the queue: an event's id has the clock of the node that made it.
        """
        asking = [each for each in due if not each.is_begun]
        ids = {each.key.event_id for each in asking}
        places = lanes.places(transaction, self._subscription, ids) if ids else {}
        answers: dict[Key, Outcome] = {}
        for each in asking:
            key, has_begun = each.key, each.delivery.attempt > 1
            place = places.get(key, lanes.Place(now))
            if place.is_alone:
                continue
            first = lanes.first_before(transaction, each.lane, key, place.started, now, has_begun=has_begun)
            if first is not None:
                ahead = 0 if has_begun else lanes.count_before(transaction, each.lane, key, place.started)
                reason = f"order_by: waits until the earlier event {first.event_id} is finished"
                answers[key] = Waiting(max(first.wait(now), ahead * _EACH), reason)
        return answers
