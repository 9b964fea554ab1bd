"""The gate of `ask`: a delivery waits until it is approved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.engine import Connection

from router.model import durations

from ...deliveries import DeadLetter, Key, Outcome, Skipped, Waiting
from ...policies.guards import Ask
from ...store import approvals
from ...store.approvals import Approval
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers

_OF_COMMANDS = ("action", "parameters", "command", "steps", "always", "nodes", "user", "environment")
"""The keys of plans that say what a command does."""

_ANSWER = timedelta(seconds=15)
"""Between two looks of a delivery that waits for its approval."""


class ApprovalGate:
    """Makes a delivery wait for its approval; skips it where that is refused, or does not come in time."""

    def __init__(self, ask: Ask) -> None:
        """Ask as *ask* says about what the handler plans to do."""
        self._ask = ask

    @classmethod
    def of(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of a live subscription that asks."""
        return cls(subscription.approval) if subscription.approval else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Write the questions that are new; look for the answers to the others."""
        questions = [(each, approvals.identity(each.key)) for each in due if not each.is_begun]
        known = approvals.get_all(transaction, [question for _, question in questions]) if questions else {}
        answers: dict[Key, Outcome] = {}
        for each, question in questions:
            found, changed = known.get(question), ""
            if found is None:
                if not isinstance(each.plan, str):
                    answers[each.key] = each.plan
                    continue
                found = self._question(question, each, now)
                approvals.ask(transaction, found)
            elif found.state == "approved" and _is_another(each, found):
                changed = f"its command has changed since {found.by} approved it; "
                found = self._question(question, each, now)
                approvals.ask_again(transaction, found)
            if outcome := self._outcome(found, each.key, now, changed):
                answers[each.key] = outcome
        return answers

    def _question(self, question: str, state: Admitted, now: datetime) -> Approval:
        event = state.delivery.event
        return Approval(
            question, event.id, state.key.subscription, event.type, str(state.plan), now, now + self._ask.within
        )

    def _outcome(self, found: Approval, key: Key, now: datetime, changed: str) -> Outcome | None:
        """Return what *found* means for the delivery of this *key*; None where it is approved."""
        if (found.event_id, found.subscription) != key[:2]:
            return DeadLetter(
                f"approval {found.id} belongs to another delivery: replay this one to request a new approval"
            )
        if found.state == "approved":
            return None
        if found.state == "refused":
            return Skipped("refused", f"refused by {found.by}")
        if found.until <= now:
            return Skipped("unanswered", f"not approved within {durations.text(self._ask.within)}")
        reason = (
            f"{changed}waits for approval until {found.until:%Y-%m-%d %H:%M}: run clusterbus jobs approve {found.id}"
        )
        return Waiting(min(_ANSWER, found.until - now), reason)


def _is_another(state: Admitted, approved: Approval) -> bool:
    """Say whether *state* would now run another command than was *approved*: facts, or the subscription, have changed.

    A retry runs what is left of the same.
    """
    is_first = state.delivery.attempt == 1 and isinstance(state.plan, str)
    return is_first and _command(str(state.plan)) != _command(approved.plan)


def _command(plan: str) -> Mapping[str, object]:
    """Return what *plan* says of a command; what else it says may change, such as the age of facts."""
    return {name: value for name, value in json.loads(plan).items() if name in _OF_COMMANDS}
