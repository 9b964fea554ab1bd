"""The gate of silences: skips what people have muted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Self

from sqlalchemy.engine import Connection

from ...deliveries import Key, Outcome, Skipped, is_fold
from ...errors import FilterError
from ...expressions.filters import Filter
from ...store import silences
from ...subscriptions.models import Subscription
from ...verbs.interface import Handler
from ..states import Admitted
from .interface import Answers

log = logging.getLogger(__name__)


class SilenceGate:
    """Skips the deliveries of a subscription that notifies people, while a silence mutes them.

    The end of an alert is not muted where the verb keeps alerts elsewhere: it would stay open there.
    """

    def __init__(self, subscription: Subscription, *, of_folds: bool) -> None:
        """Ask about folds only, where *of_folds*; else about all other deliveries."""
        self._subscription, self._of_folds = subscription.name, of_folds
        self._spares_ends = subscription.verb.keeps_alerts

    @classmethod
    def of_events(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate that mutes events before they are folded."""
        return cls(subscription, of_folds=False) if subscription.verb.tells else None

    @classmethod
    def of_folds(cls, subscription: Subscription, _handler: Handler) -> Self | None:
        """Return the gate that mutes folds when they are complete."""
        return cls(subscription, of_folds=True) if subscription.verb.tells else None

    def ask(self, transaction: Connection, due: Sequence[Admitted], now: datetime) -> Answers:
        """Skip what a silence matches that is active *now*."""
        new = [each for each in due if each.is_new and is_fold(each.delivery.replay) is self._of_folds]
        if self._spares_ends:
            new = [each for each in new if each.delivery.event.data.get("state") != "closed"]
        active = silences.find(transaction, at=now) if new else []
        answers: dict[Key, Outcome] = {}
        for silence in active:
            if silence.subscription in ("", self._subscription) and (muted := _filter(silence.where)):
                reason = f"{silence.id} by {silence.author} until {silence.until:%Y-%m-%d %H:%M} UTC: {silence.comment}"
                for each in new:
                    if muted.matches(each.delivery.event).matched:
                        answers[each.key] = Skipped("silenced", reason)
        return answers


@lru_cache(maxsize=256)
def _filter(where: str) -> Filter | None:
    try:
        return Filter(where)
    except FilterError as error:
        # Another release has written it.  One notification too many is better than none at all.
        log.error("filter of a silence is invalid, ignoring the silence", extra={"where": where, "reason": str(error)})  # noqa: TRY400 - the reason is enough
        return None
