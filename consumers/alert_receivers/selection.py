"""Which alerts a subscription keeps in another system: those of which it gets, or got, a change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from router.model.events import OWN, Event

from ..delivery.active_subscription import ActiveSubscription
from ..errors import FilterError
from ..expressions.filters import Filter
from ..expressions.values.alert_values import suppressed_by
from ..store import silences
from ..store.alerts import published_changes
from ..store.alerts.published_changes import Published

CLOSED_FOR = timedelta(minutes=15)
"""For so long an alert that is closed is sent again, so that its end is known although a call was lost."""


def kept(
    transaction: Connection, subscription: ActiveSubscription, now: datetime, *, is_closed_kept: bool = True
) -> Iterator[Published]:
    """Yield the alerts that *subscription* keeps in another system, and those that were closed lately.

    What it leaves out because another alert suppresses it, or a silence mutes it, is not among them.
    """
    muting = [*_muting(silences.find(transaction, at=now), subscription.name)]
    skips = subscription.definition.leaves_out_suppressed
    closed_after = now - CLOSED_FOR if is_closed_kept else now + CLOSED_FOR
    for each in published_changes.present(transaction, closed_after=closed_after):
        if skips and suppressed_by(each.last):
            continue
        is_open = each.last.data.get("state") != "closed"
        if is_open and any(muted.matches(each.last).matched for muted in muting):
            continue
        if any(subscription.selects(change) for change in changes_of(each.last)):
            yield each


def changes_of(last: Event) -> Iterator[Event]:
    """Yield the *last* change of an alert, and those that it had before, as far as it says so.

    A subscription may get only some kinds of changes: what it was sent once stays open until it is closed.
    """
    yield last
    data = last.data
    openings = data.get("openings")
    had = {
        "alertOpened": True,
        "alertRepeated": isinstance(openings, int) and openings > 1,
        "alertAcknowledged": data.get("state") == "acknowledged",
        "alertEscalated": bool(data.get("escalatedTo")),
        "alertFlapping": data.get("flapping") == "yes",
    }
    yield from (last.model_copy(update={"type": f"{OWN}.{name}"}) for name, is_true in had.items() if is_true)


def _muting(active: Iterable[silences.Silence], subscription: str) -> Iterator[Filter]:
    for each in active:
        if each.subscription in ("", subscription):
            try:
                yield Filter(each.where)
            except FilterError:
                # The gate of silences ignores it as well, and logs that.
                continue
