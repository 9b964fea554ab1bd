"""Alerts as PagerDuty takes them (Events API v2), and the incidents that it has (REST API).  Pure.

`dedup_key` is the id of the alert: one life is one incident.  A later life of the same alert opens an incident of its
own, which notifies again, and a late or replayed end can only resolve the incident that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from router.model.events import Severity

from ...expressions.sanitize import one_line, shortened
from .alert_change import ACKNOWLEDGED, AlertChange
from .remote_states import RemoteState, parsed, text_at

EVENTS = {"us": "https://events.pagerduty.com", "eu": "https://events.eu.pagerduty.com"}
REST = {"us": "https://api.pagerduty.com", "eu": "https://api.eu.pagerduty.com"}
ENQUEUE = "/v2/enqueue"
REST_VERSION = "application/vnd.pagerduty+json;version=2"
"""What the REST API wants as `Accept`."""

_SEVERITIES: Mapping[Severity, str] = {
    "info": "info",
    "notice": "info",
    "warning": "warning",
    "error": "error",
    "critical": "critical",
}
_SUMMARY, _DETAIL = 1024, 4096
"""Characters at most.  An event of PagerDuty has 512 KB at most, which these limits keep far below."""

_PERSON = ("user", "user_reference")


def unsent(change: AlertChange) -> str:
    """Return why PagerDuty gets no event for *change*; empty if it gets one."""
    if change.name == "alertNoted":
        return "the Events API takes no notes"
    if change.name == "alertAcknowledged" and change.state != ACKNOWLEDGED:
        return "the Events API cannot take an acknowledgement back"
    return ""


def event(change: AlertChange, key: str, link: str) -> dict[str, Any]:
    """Return the event for *change*, with the routing *key* and a *link* to a page about the alert."""
    found: dict[str, Any] = {"routing_key": key, "event_action": _action(change), "dedup_key": change.alert}
    if found["event_action"] != "trigger":
        return found
    found["payload"] = {
        "summary": shortened(one_line(change.title), _SUMMARY),
        "source": change.node or change.cluster,
        "severity": _SEVERITIES[change.severity],
        "timestamp": change.since.isoformat(timespec="milliseconds"),
        "component": shortened("/".join(change.about.values()) or change.cluster, 255),
        "group": change.cluster,
        "class": change.rule,
        "custom_details": details(change),
    }
    found["client"] = "clusterbus"
    if link:
        found |= {"client_url": link, "links": [{"href": link, "text": "the alert in clusterbus"}]}
    return found


def details(change: AlertChange) -> dict[str, str]:
    """Return what people read about the alert, by name, without what is empty."""
    found = {
        "alert": change.alert,
        "cluster": change.cluster,
        **change.about,
        "since": change.since.isoformat(),
        "openings": str(change.openings),
        "opened by": change.opened_by,
        "event type": change.event_type,
        "nodes": change.nodes,
        "suppresses": str(change.suppressed) if change.suppressed else "",
        "owner": change.owner,
    }
    return {name: shortened(value, _DETAIL) for name, value in found.items() if value}


def incidents_path(alert: str) -> str:
    """Return the path and query that ask for the incidents of *alert*, of any age.

    >>> incidents_path("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB")
    '/incidents?incident_key=01KAG2V0M3Y8ZT6Q4XJ5W9E7RB&date_range=all&limit=10&sort_by=created_at%3Adesc'
    """
    return f"/incidents?incident_key={quote(alert, safe='')}&date_range=all&limit=10&sort_by=created_at%3Adesc"


def remote_state(alert: str, answer: str) -> RemoteState | None:
    """Return the state of *alert* by the *answer*, None if PagerDuty has no incident of it.

    What PagerDuty resolved by itself, or another program, still has to be seen to here: only people close an alert.
    Raises ValueError if the answer cannot be read.
    """
    incidents = parsed(answer).get("incidents")
    if not isinstance(incidents, list):
        raise ValueError("the answer has no list of incidents")  # noqa: TRY004 - a mistake in the text
    newest = max(
        (each for each in incidents if isinstance(each, dict)),
        key=lambda each: text_at(each, "created_at"),
        default=None,
    )
    if newest is None:
        return None
    status = newest.get("status")
    if status == "resolved":
        by = newest.get("last_status_change_by")
        is_person = text_at(by, "type") in _PERSON
        return RemoteState(alert, "closed", text_at(by, "summary")) if is_person else None
    if status == "acknowledged":
        acknowledged = newest.get("acknowledgements")
        first = acknowledged[0] if isinstance(acknowledged, list) and acknowledged else {}
        return RemoteState(alert, "acknowledged", text_at(first, "acknowledger", "summary"))
    return RemoteState(alert, "open")


def _action(change: AlertChange) -> str:
    if change.is_closed:
        return "resolve"
    return "acknowledge" if change.name == "alertAcknowledged" else "trigger"
