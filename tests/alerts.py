"""Events of the changes of alerts, as the engine publishes them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert

from consumers.alerts.alert_row import AlertRow, key_of
from consumers.alerts.life.observations import Observation
from consumers.alerts.life.policy import Policy
from consumers.store.alerts import alert_rows, observed
from consumers.store.schema import alert_tables
from router.model.catalogue import Catalogues
from router.model.events import Event
from tests.consuming import make_event

ALERT = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RB"
OTHER = "01KAG2V0M3Y8ZT6Q4XJ5W9E7RA"
DATA: dict[str, Any] = {
    "alert": ALERT,
    "rule": "soft-quota",
    "state": "open",
    "change": 1,
    "about": ["fsName=gpfs1", "filesetName=projects"],
    "summary": "projects of gpfs1 is over its soft quota",
    "since": "2026-11-20T12:00:00.000000Z",
    "until": None,
    "openings": 1,
    "openedBy": "01KAG2V0M3Y8ZT6Q4XJ5W9E7RC",
    "eventType": "gpfs.softQuotaExceeded",
    "lastEvent": "01KAG2V0M3Y8ZT6Q4XJ5W9E7RC",
    "cause": "event",
    "nodes": "nsd01",
    "suppressedBy": None,
    "suppressed": 0,
    "flapping": "no",
    "owner": None,
    "by": None,
    "comment": None,
    "escalatedTo": None,
    "depth": 1,
}
_STATES = {"alertClosed": "closed", "alertAcknowledged": "acknowledged"}
_NAMES = frozenset(Catalogues.shipped()["clusterbus"].events)


def change(name: str, event_id: str | None = None, **changed: Any) -> Event:
    """Return the event *name* of an alert; *changed* are its attributes, or values of its data."""
    if name not in _NAMES:
        raise ValueError(name)
    state = _STATES.get(name, "open")
    own = {each: changed.pop(each) for each in list(changed) if each in Event.model_fields}
    attributes: dict[str, Any] = {
        "type": f"clusterbus.{name}",
        "source": "/clusterbus/prod/nsd01",
        "subject": "soft-quota",
        "category": "alert",
        "scope": "local",
        "data": DATA | {"state": state} | changed,
    }
    return make_event(event_id, **attributes | own)


NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def alert_row(alert: str = ALERT, **fields: Any) -> AlertRow:
    """Return an alert as the store has it."""
    about = (("fsName", "gpfs1"), ("filesetName", "projects"))
    defaults: dict[str, Any] = {
        "id": alert,
        "key": key_of("soft-quota", "prod", [*about, ("alert", alert)]),
        "rule": "soft-quota",
        "cluster": "prod",
        "node": "",
        "event_node": "nsd01",
        "nodes": "nsd01",
        "about": about,
        "severity": "warning",
        "summary": "projects of gpfs1 is over its soft quota",
        "since": NOON,
        "opened_by": DATA["openedBy"],
        "last_opening": DATA["openedBy"],
        "event_type": "gpfs.softQuotaExceeded",
        "told": True,
        "change": 1,
    }
    return AlertRow(**defaults | fields)


def keep(transaction: Connection, *rows: AlertRow) -> None:
    """Write alerts, each with the change that told its opening."""
    for row in rows:
        facts = alert_rows.values(row)
        transaction.execute(insert(alert_tables.alerts), facts)
        opened = change("alertOpened", row.opened_by, alert=row.id)
        own = {"alert": row.id, "number": 1, "name": "alertOpened", "at": row.since, "cause": "event"}
        told = {"by": "", "comment": "", "why": "", "body": opened.to_json(), "published": row.since}
        transaction.execute(insert(alert_tables.changes), {"id": f"{row.id[:-1]}Z", **own, **told})
        key = {"key": row.key, "rule": row.rule, "cluster": row.cluster, "about": facts["about"], "latest": row.since}
        transaction.execute(insert(alert_tables.keys), {**key, "policy": Policy().to_json(), "base": ""})
        began = {"severity": row.severity, "summary": row.summary, "node": row.node, "event_node": row.event_node}
        opening = Observation(id=row.opened_by, at=row.since, kind="opens", alert=row.id, **began)
        observed.keep(transaction, [(row.key, opening)])
