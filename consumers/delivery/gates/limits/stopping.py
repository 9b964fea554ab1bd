"""The gate of `stop_after`: a subscription that failed too often waits until a person lets it go on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.engine import Connection

from router.model import durations
from router.model.ids import new_id

from ....deliveries import DeadLetter, Key, Outcome, Retry, Skipped, bounded
from ....policies.guards import StopAfter
from ....store.database import lock
from ....store.limits import stops
from ....store.limits.stops import Stop
from ....subscriptions.models import Subscription
from ....verbs.interface import Handler
from ...states import Admitted, Ended
from ..interface import Answers

_LOOK = timedelta(seconds=15)
"""Between two looks of a delivery whose subscription is stopped."""

_WORD = "stopped"


class StopGate:
    """Makes deliveries of a stopped subscription wait, or skips what comes for the first time."""

    def __init__(self, subscription: str, stop_after: StopAfter) -> None:
        """Look after *subscription*."""
        self._subscription, self._stop_after = subscription, stop_after

    @classmethod
    def of(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate of a subscription that can be stopped."""
        guard = subscription.guard
        return cls(subscription.name, guard.stop_after) if guard and guard.stop_after else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:  # noqa: ARG002 - the interface
        """Let nothing begin while the subscription is stopped, and no portion follow; jobs under way go on."""
        stop = stops.latest(transaction, self._subscription)
        if stop is None or stop.resumed:
            return {}
        reason = bounded(f"stopped on {stop.at:%Y-%m-%d %H:%M:%S} UTC: {stop.reason}")
        answers: dict[Key, Outcome] = {}
        for each in due:
            if each.is_under_way:
                continue
            if self._stop_after.rest == "skip" and each.comes_first:
                answers[each.key] = Skipped(_WORD, reason)
            else:
                way_out = f"; to go on: clusterbus subscriptions resume {self._subscription}"
                answers[each.key] = each.wait(_LOOK, f"{reason}{way_out}")
        return answers


def learn(transaction: Connection, subscription: Subscription, ended: Ended, now: datetime) -> bool:
    """Count a failure of *subscription*; return whether it stops: there are too many, or too many since it went on."""
    stop_after = subscription.guard.stop_after if subscription.guard else None
    if stop_after is None or not isinstance(ended.outcome, Retry | DeadLetter):
        return False
    lock(transaction)
    name, event = subscription.name, ended.delivery.event
    stops.fail(transaction, name, ended.delivery.mark, now)
    before = stops.latest(transaction, name)
    if before and before.resumed is None:
        return False
    since = now - stop_after.within
    if before and before.resumed:
        since = max(since, before.resumed)
    failures = stops.failed(transaction, name, since)
    is_stopped = failures >= stop_after.failures
    if is_stopped:
        reason = f"{failures} failures within {durations.text(stop_after.within)}, the last: {ended.outcome.reason}"
        stops.stop(
            transaction, Stop(new_id(), name, event.cluster, event.node, event.type, event.id, now, bounded(reason))
        )
    return is_stopped
