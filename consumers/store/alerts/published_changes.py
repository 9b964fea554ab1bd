"""Reading what was published of alerts: what other systems know of them, and have to be sent again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ScalarSelect, or_, select
from sqlalchemy.engine import Connection

from router.errors import InvalidEvent
from router.model.events import Event

from ..schema.alert_tables import alerts, changes
from .alert_rows import OPEN

_PAGE = 500
"""Alerts that one query returns, at most."""


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
