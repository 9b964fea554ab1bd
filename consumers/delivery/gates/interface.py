"""What every gate does: it refuses some of the deliveries that are due, and changes others.

A gate is asked about the deliveries of one subscription, in the transaction that writes that they begin.  What it has
to remember it writes in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy.engine import Connection

from ...deliveries import Key, Outcome
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted

Answers = Mapping[Key, Outcome | Admitted]
"""The outcome of a delivery that is refused, or the changed delivery; one that is not mentioned passes unchanged."""


class Gate(Protocol):
    """Asked about the deliveries of one subscription."""

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Return which of *due* are refused, and which change."""


MakeGate = Callable[[Subscription, Handler], Gate | None]
"""Makes a gate before the handler of a subscription; None where the subscription does not ask for that gate."""
