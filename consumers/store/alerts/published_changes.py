"""Reading what was published of alerts: what other systems know of them, and have to be sent again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ScalarSelect, and_, or_, select
from sqlalchemy.engine import Connection

from router.errors import InvalidEvent
from router.model.events import Event

from ...deliveries import FOLDED
from ..attempts import DONE, RETRY
from ..schema import deliveries
from ..schema.alert_tables import alerts, changes
from .alert_rows import OPEN

_PAGE = 500
"""Alerts that one query returns, at most."""

_MOST_LOOKED_AT = 1000
"""Changes of an alert among which one is looked for that was delivered."""

_TOLD = (DONE, RETRY, FOLDED)
"""How attempts ended whose subscription has said something, or will."""


@dataclass(frozen=True, slots=True)
class Published:
    """An alert, with the *first* and the *last* of its changes that were published.

    *state* is the present one, and *by* who has changed it last, if a person has.
    """

    alert: str
    state: str
    by: str
    first: Event
    last: Event


def of_alert(transaction: Connection, alert: str) -> tuple[Event, Event] | None:
    """Return the first and the last change of *alert* that were published, None if there are none."""
    bodies = select(changes.c.body).where(changes.c.alert == alert, changes.c.body.is_not(None))
    first = transaction.scalar(bodies.order_by(changes.c.number).limit(1))
    last = transaction.scalar(bodies.order_by(changes.c.number.desc()).limit(1))
    return (Event.from_json(first), Event.from_json(last)) if first and last else None


def has_delivered(transaction: Connection, alert: str, subscription: str, event_id: str) -> bool:
    """Return whether *subscription* has delivered a change of *alert* before that of *event_id*, or is about to.

    It reads a number of changes; where more follow, the answer is yes.
    """
    first = (changes.c.alert == alert, changes.c.id != event_id, changes.c.number <= _MOST_LOOKED_AT)
    own = (deliveries.c.event_id == changes.c.id, deliveries.c.subscription == subscription, deliveries.c.replay == "")
    is_told = or_(deliveries.c.outcome.is_(None), deliveries.c.outcome.in_(_TOLD))
    told = select(changes.c.number).join(deliveries, and_(*own)).where(*first, is_told).limit(1)
    more = select(changes.c.number).where(changes.c.alert == alert, changes.c.number > _MOST_LOOKED_AT).limit(1)
    return any(transaction.execute(each).first() for each in (told, more))


def present(transaction: Connection, *, closed_after: datetime) -> Iterator[Published]:
    """Yield the alerts that are open, or were *closed_after* a moment, if anything of them was published."""
    wanted = or_(alerts.c.state.in_(OPEN), alerts.c.until > closed_after)
    first, last = _body(changes.c.number).label("first"), _body(changes.c.number.desc()).label("last")
    query = select(alerts.c.id, alerts.c.state, alerts.c.by, first, last).where(wanted)
    after = ""
    while page := transaction.execute(query.where(alerts.c.id > after).order_by(alerts.c.id).limit(_PAGE)).all():
        after = page[-1].id
        for row in page:
            try:
                if row.first:
                    yield Published(row.id, row.state, row.by, Event.from_json(row.first), Event.from_json(row.last))
            except InvalidEvent:
                # Another release has written it: its own delivery reports that.
                continue


def _body(order: Any) -> ScalarSelect[Any]:  # noqa: ANN401 - a column or its reverse
    """Return the event of the first change that was published, in this *order*."""
    body = select(changes.c.body).where(changes.c.alert == alerts.c.id, changes.c.body.is_not(None))
    return body.order_by(order).limit(1).scalar_subquery()
