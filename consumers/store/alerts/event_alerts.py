"""What one event did to alerts: which it opened or closed, and the changes that it caused."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.engine import Connection

from ...alerts.alert_row import AlertRow
from ...alerts.life.lifecycle import EndClaim
from ..schema.alert_tables import alerts as table
from ..schema.alert_tables import changes, observations
from . import alert_rows, alerts
from .alerts import ChangeRow
from .subjects import end_claim

_MOST = 200
"""Most alerts of one event that are looked up."""


@dataclass(frozen=True, slots=True)
class EventAlert:
    """One alert that an event *opens* or closes.

    *row* is None if there was none to close.  *changes* are those that the event caused; without any, it changed
    nothing that was told: it repeated what was known, or nothing was open, or it is a *claim* that waits.
    """

    key: str
    opens: bool
    row: AlertRow | None
    changes: Sequence[ChangeRow] = ()
    claim: EndClaim | None = None


def of_event(transaction: Connection, event_id: str, keys: Collection[str]) -> list[EventAlert]:
    """Return what the event of this id did to alerts of *keys*; those that did not see it are left out."""
    seen = select(observations.c.key, observations.c.kind, observations.c.at).where(
        observations.c.key.in_([*keys][:_MOST]), observations.c.id == event_id
    )
    found = []
    for key, kind, at in transaction.execute(seen):
        lived = or_(table.c.until.is_(None), table.c.until >= at)
        wanted = alert_rows.query().where(table.c.key == key, table.c.since <= at, lived)
        row = next(iter(alert_rows.rows(transaction, wanted.order_by(table.c.since.desc()).limit(1))), None)
        caused = _caused(transaction, row.id, event_id) if row else ()
        claim = end_claim(transaction, key) if kind == "closes" and row and row.until is None else None
        found.append(EventAlert(key, kind == "opens", row, caused, claim))
    return found


def _caused(transaction: Connection, alert_id: str, event_id: str) -> list[ChangeRow]:
    bodies = select(changes.c.id, changes.c.body).where(changes.c.alert == alert_id, changes.c.body.is_not(None))
    ids = {id_ for id_, body in transaction.execute(bodies) if _last_event(body) == event_id}
    return [each for each in alerts.history(transaction, alert_id) if each.id in ids]


def _last_event(body: bytes) -> object:
    return json.loads(body)["data"].get("lastEvent")
