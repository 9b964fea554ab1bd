"""The gate of suppressed alerts: skips what is not told while another alert is open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Self

from sqlalchemy.engine import Connection

from router.model.events import Event

from ...deliveries import Key, Outcome, Skipped, is_fold
from ...expressions.filters import Filter
from ...expressions.values.alert_values import is_change
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers

_SUPPRESSED_BY: Final = "suppressedBy"
_WORD: Final = "suppressed"


def leaves_out_suppressed(subscription: Subscription) -> bool:
    """Return whether *subscription* is not to get suppressed changes of alerts: unless `where` asks for them."""
    asks = subscription.where is not None and _SUPPRESSED_BY in Filter(subscription.where).variables
    return subscription.verb.leaves_out_suppressed and not asks


def suppressed_by(event: Event) -> str:
    """Return the id of the alert that suppresses the one whose change *event* tells; empty if none does."""
    other = event.data.get(_SUPPRESSED_BY) if is_change(event) else None
    return other if isinstance(other, str) else ""


class SuppressionGate:
    """Skips changes of alerts that another alert suppresses; the event names it."""

    @classmethod
    def of(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of a subscription that does not ask for them."""
        return cls() if leaves_out_suppressed(subscription) else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:  # noqa: ARG002 - the protocol
        """Skip the suppressed ones of *due*."""
        answers: dict[Key, Outcome] = {}
        for each in due:
            other = suppressed_by(each.delivery.event)
            if other and each.is_new and not is_fold(each.delivery.replay):
                answers[each.key] = Skipped(_WORD, f"suppressed by {other}: clusterbus alerts show {other}")
        return answers
