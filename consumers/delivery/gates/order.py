"""The gate of `order_by`: a delivery waits for the earlier ones of its lane."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Self

from sqlalchemy.engine import Connection

from ...deliveries import Key, Outcome, Waiting
from ...store import attempts
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers


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
        lanes = {each.lane for each in asking}
        unfinished = attempts.unfinished(transaction, self._subscription, lanes) if lanes else {}
        answers: dict[Key, Outcome] = {}
        for each in asking:
            lane = unfinished.get(each.lane, ())
            key, is_first = each.key, each.delivery.attempt == 1
            own = [one for one in lane if (one.event_id, one.replay) == (key.event_id, key.replay)]
            came = own[0].started if own else now
            me = attempts.Unfinished(key.event_id, came, "", None, key.replay, has_begun=not is_first)
            earlier = [one for one in lane if one not in own and one.precedes(me) and not one.is_gone(now)]
            if earlier:
                reason = f"order_by: waits until the earlier event {earlier[0].event_id} is finished"
                answers[each.key] = Waiting(max(one.wait(now) for one in earlier), reason)
        return answers
