"""The gate of suppressed alerts: skips what nobody is notified of while another alert is open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Self

from sqlalchemy.engine import Connection

from ...deliveries import Key, Outcome, Skipped, is_fold
from ...expressions.values.alert_values import suppressed_by
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers

_WORD: Final = "suppressed"


class SuppressionGate:
    """Skips changes of alerts that another alert suppresses; the event names it."""

    @classmethod
    def of(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of a subscription that does not ask for them."""
        return cls() if subscription.leaves_out_suppressed else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:  # noqa: ARG002 - the protocol
        """Skip the suppressed ones of *due*."""
        answers: dict[Key, Outcome] = {}
        for each in due:
            other = suppressed_by(each.delivery.event)
            if other and each.is_new and not is_fold(each.delivery.replay):
                answers[each.key] = Skipped(_WORD, f"suppressed by {other}: clusterbus alerts show {other}")
        return answers
