"""Alerts as Opsgenie takes them (Alert API v2), and what it says of them.  Pure.

The alias is the id of the alert: one life here is one alert there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from router.model.events import Severity

from ...expressions.sanitize import one_line, shortened
from .alert_change import ACKNOWLEDGED, CLOSED, AlertChange
from .pagerduty import details
from .receiver_options import OpsgenieOptions, Priority
from .remote_states import RemoteState, parsed, text_at

HOSTS = {"us": "https://api.opsgenie.com", "eu": "https://api.eu.opsgenie.com"}
ALERTS = "/v2/alerts"

PRIORITIES: Mapping[Severity, Priority] = {
    "critical": "P1",
    "error": "P2",
    "warning": "P3",
    "notice": "P4",
    "info": "P5",
}

_MESSAGE, _DESCRIPTION, _NOTE, _ENTITY, _USER = 130, 15000, 25000, 512, 100
_DETAILS = 8000
"""Characters in all keys and values of the details, at most."""


class Request(NamedTuple):
    """The path of a request, below the address of the API, and its body."""

    path: str
    body: Mapping[str, Any]


class Processed(NamedTuple):
    """What became of a request: *is_done* is None while it waits to be processed; *status* says it in words."""

    is_done: bool | None
    status: str = ""

    @property
    def lacks_alert(self) -> bool:
        """Whether it failed because no alert has the alias."""
        return self.is_done is False and "does not exist" in self.status.lower()


def request(change: AlertChange, link: str, options: OpsgenieOptions) -> Request:
    """Return the request for *change*, with a *link* to a page about the alert."""
    by = shortened(one_line(change.by), _USER) or "clusterbus"
    note = {"user": by, "source": "clusterbus"} | ({"note": shortened(change.comment, _NOTE)} if change.comment else {})
    match change.name:
        case _ if change.state == CLOSED:
            return Request(_path(change.alert, "close"), note)
        case "alertAcknowledged":
            return Request(
                _path(change.alert, "acknowledge" if change.state == ACKNOWLEDGED else "unacknowledge"), note
            )
        case "alertNoted":
            return Request(_path(change.alert, "notes"), note | {"note": shortened(change.comment or "-", _NOTE)})
    own = [change.rule, change.cluster, *([change.node] if change.node else [])]
    body: dict[str, Any] = {
        "message": shortened(one_line(change.title), _MESSAGE),
        "alias": change.alert,
        "description": shortened(f"{change.title}\n{link}".strip(), _DESCRIPTION),
        "tags": [each[:50] for each in (*options.tags, *own)][:20],
        "details": _bounded(details(change) | ({"link": link} if link else {})),
        "entity": shortened("/".join(change.about.values()) or change.node or change.cluster, _ENTITY),
        "source": "clusterbus",
        "priority": {**PRIORITIES, **options.priorities}[change.severity],
    }
    if options.responders:
        body["responders"] = [_responder(each) for each in options.responders]
    return Request(ALERTS, body)


def status_path(request_id: str) -> str:
    """Return the path that asks what became of a request."""
    return f"{ALERTS}/requests/{quote(request_id, safe='')}"


def alert_path(alert: str) -> str:
    """Return the path and query that ask for *alert*.

    >>> alert_path("01KAG2V0M3Y8ZT6Q4XJ5W9E7RB")
    '/v2/alerts/01KAG2V0M3Y8ZT6Q4XJ5W9E7RB?identifierType=alias'
    """
    return _path(alert, "")


def request_id(answer: str) -> str:
    """Return the id of a request by the *answer* to it; empty if it has none."""
    try:
        return text_at(parsed(answer), "requestId")
    except ValueError:
        return ""


def processed(status: int, answer: str) -> Processed:
    """Return what became of a request by the *answer* with the HTTP *status*.  Raises ValueError if it has no sense."""
    if status == 404:  # noqa: PLR2004 - it has not been processed yet
        return Processed(None)
    found = parsed(answer).get("data")
    if status != 200 or not isinstance(found, dict) or not isinstance(found.get("isSuccess"), bool):  # noqa: PLR2004
        raise ValueError(f"the status of the request cannot be read: {status}")
    return Processed(found["isSuccess"], text_at(found, "status"))


def remote_state(alert: str, answer: str) -> RemoteState:
    """Return the state of *alert* by the *answer*.  Raises ValueError if it cannot be read."""
    found = parsed(answer).get("data")
    if not isinstance(found, dict):
        raise ValueError("the answer has no alert")  # noqa: TRY004 - a mistake in the text
    if found.get("status") == "closed":
        return RemoteState(alert, "closed", text_at(found, "report", "closedBy"))
    if found.get("acknowledged") is True:
        by = text_at(found, "report", "acknowledgedBy") or text_at(found, "owner")
        return RemoteState(alert, "acknowledged", by)
    return RemoteState(alert, "open")


def _path(alert: str, what: str) -> str:
    return f"{ALERTS}/{quote(alert, safe='')}{f'/{what}' if what else ''}?identifierType=alias"


def _responder(text: str) -> dict[str, str]:
    kind, _, name = text.partition(":")
    return {"type": kind, "username" if kind == "user" else "name": name}


def _bounded(found: Mapping[str, str]) -> dict[str, str]:
    """Return as many of the details *found* as Opsgenie takes."""
    kept: dict[str, str] = {}
    left = _DETAILS
    for name, value in found.items():
        text = shortened(value, 1000)
        if len(name) + len(text) <= left:
            kept[name] = text
            left -= len(name) + len(text)
    return kept
