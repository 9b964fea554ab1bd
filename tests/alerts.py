"""Events of the changes of alerts, as the engine publishes them."""

from typing import Any

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
