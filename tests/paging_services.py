"""Stand-ins for PagerDuty and Opsgenie on loopback: they refuse what the real ones refuse, by their public schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from tests.webhooks import Webhook, _Request, webhook

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "u+read-only-token-1"
GENIE_KEY = "eb243592-faa2-4ba2-a551-1afdf565c889"

_EVENT = {"routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"}
_PAYLOAD = {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}
_CREATE = {
    *("message", "alias", "description", "responders", "visibleTo", "actions", "tags", "details", "entity"),
    *("source", "priority", "user", "note"),
}


@dataclass
class Incident:
    """An incident of PagerDuty, or an alert of Opsgenie."""

    key: str
    status: str
    severity: str = ""
    title: str = ""
    by: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    created: int = 0


class Paging:
    """What the two services have in common: incidents, notifications, and answers that are set for the next calls."""

    def __init__(self, server: Webhook) -> None:
        self.server = server
        self.incidents: list[Incident] = []
        self.actions: list[tuple[str, str]] = []
        self.notified: list[str] = []
        self.refusals: list[tuple[int, str]] = []
        """Statuses for the next calls, each with the text of its answer."""
        self.asked: list[str] = []
        """What was asked about."""
        server.behave = self.behave

    @property
    def url(self) -> str:
        return f"http://{self.server.address}"

    def open(self, key: str) -> Incident | None:
        """Return the incident of *key* that is not resolved."""
        return next(
            (each for each in self.incidents if each.key == key and each.status not in ("resolved", "closed")), None
        )

    def behave(self, request: _Request) -> None:
        received = self.server.received[-1]
        if self.refusals:
            status, text = self.refusals.pop(0)
            _answer(request, status, {"message": text}, retry_after="0" if status == 429 else "")
            return
        body = json.loads(received.body) if received.body else {}
        status, found = self.answer(received.method, received.path, received.headers, body)
        _answer(request, status, found)

    def answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        raise NotImplementedError


class PagerDuty(Paging):
    """The Events API v2 and the list of incidents of the REST API."""

    def answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        parts = urlsplit(path)
        if (method, parts.path) == ("GET", "/incidents"):
            return self._incidents(headers, parse_qs(parts.query))
        if (method, path) != ("POST", "/v2/enqueue"):
            return 404, {"message": "not found"}
        if headers.get("content-type") != "application/json":
            return 400, {"status": "invalid event", "message": "not JSON", "errors": ["Content-Type"]}
        if wrong := [*_wrong_event(body)]:
            return 400, {"status": "invalid event", "message": "Event object is invalid", "errors": wrong}
        key, action = body["dedup_key"], body["event_action"]
        self.actions.append((action, key))
        known = self.open(key)
        if action == "trigger" and known is None:
            found = body["payload"]
            self.incidents.append(
                Incident(key, "triggered", found["severity"], found["summary"], created=len(self.incidents))
            )
            self.notified.append(key)
        elif action == "resolve" and known:
            known.status, known.by = "resolved", {"type": "inbound_integration_reference", "summary": "Events API"}
        elif action == "acknowledge" and known:
            known.status, known.by = "acknowledged", {"type": "inbound_integration_reference", "summary": "Events API"}
        return 202, {"status": "success", "message": "Event processed", "dedup_key": key}

    def person(self, key: str, status: str, by: str, kind: str = "user_reference") -> None:
        """Have a person do what they do in the web page or the app."""
        found = self.open(key)
        assert found is not None
        found.status, found.by = status, {"type": kind, "summary": by}

    def _incidents(self, headers: dict[str, str], query: dict[str, list[str]]) -> tuple[int, Any]:
        self.asked.append(query["incident_key"][0])
        if headers.get("authorization") != f"Token token={TOKEN}":
            return 401, {"error": {"message": "Unauthorized", "code": 2006}}
        if "version=2" not in headers.get("accept", ""):
            return 400, {"error": {"message": "version", "code": 2001}}
        assert query["date_range"] == ["all"], "otherwise only those of a month"
        return 200, {
            "incidents": [
                {
                    "id": f"P{each.created}",
                    "type": "incident",
                    "incident_key": each.key,
                    "status": each.status,
                    "created_at": f"2026-11-20T12:00:{each.created:02d}Z",
                    "acknowledgements": [{"at": "2026-11-20T12:30:00Z", "acknowledger": each.by}]
                    if each.status == "acknowledged"
                    else [],
                    "last_status_change_by": each.by or {"type": "service_reference", "summary": "storage"},
                }
                for each in self.incidents
                if each.key == query["incident_key"][0]
            ],
            "more": False,
        }


class Opsgenie(Paging):
    """The Alert API v2: requests are taken at once, and processed when their state was asked for *delay* times."""

    def __init__(self, server: Webhook, delay: int = 1) -> None:
        super().__init__(server)
        self.delay = delay
        self._waiting: dict[str, tuple[int, str, Any]] = {}
        self._processed: dict[str, tuple[bool, str]] = {}

    def answer(self, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        if headers.get("authorization") != f"GenieKey {GENIE_KEY}":
            return 403, {"message": "You are not authorized to access this resource", "took": 0.0, "requestId": "r"}
        parts = urlsplit(path)
        if method == "GET" and (found := re.fullmatch(r"/v2/alerts/requests/([^/]+)", parts.path)):
            return self._status(found[1])
        return self._about_alert(method, parts, body)

    def _about_alert(self, method: str, parts: SplitResult, body: Any) -> tuple[int, Any]:
        found = re.fullmatch(r"/v2/alerts(?:/([^/]+)(?:/(close|acknowledge|unacknowledge|notes))?)?", parts.path)
        if not found:
            return 404, {"message": "no such resource"}
        alias, action = found[1], found[2]
        if alias and parse_qs(parts.query).get("identifierType") != ["alias"]:
            return 422, {"message": "identifierType"}
        if method == "GET":
            return self._alert(alias)
        wrong = _wrong_create(body) if alias is None else _wrong_action(body, action)
        if wrong:
            return 422, {"message": "Request body is not processable", "errors": {wrong: "is invalid"}}
        request = f"request-{len(self._waiting) + len(self._processed)}"
        self._waiting[request] = (self.delay, action or "create", {**body, "alias": alias or body["alias"]})
        return 202, {"result": "Request will be processed", "took": 0.1, "requestId": request}

    def _status(self, request: str) -> tuple[int, Any]:
        if request in self._waiting:
            left, action, body = self._waiting[request]
            if left > 0:
                self._waiting[request] = (left - 1, action, body)
                return 404, {"message": "Request not found. It might not be processed, yet.", "requestId": "r"}
            del self._waiting[request]
            self._processed[request] = self._process(action, body)
        if request not in self._processed:
            return 404, {"message": "Request not found. It might not be processed, yet.", "requestId": "r"}
        is_done, text = self._processed[request]
        return 200, {
            "data": {"success": is_done, "isSuccess": is_done, "status": text, "action": "x"},
            "requestId": "r",
        }

    def _process(self, action: str, body: Any) -> tuple[bool, str]:
        alias = body["alias"]
        self.actions.append((action, alias))
        known = self.open(alias)
        if action == "create":
            if known is None:
                self.incidents.append(Incident(alias, "open", body["priority"], body["message"]))
                self.notified.append(alias)
            return True, "Created alert"
        if known is None:
            return False, "Alert does not exist"
        if "note" in body:
            known.notes.append(body["note"])
        known.status = {"close": "closed", "acknowledge": "acknowledged", "unacknowledge": "open"}.get(
            action, known.status
        )
        known.by = {"summary": body.get("user", "")}
        return True, "done"

    def _alert(self, alias: str) -> tuple[int, Any]:
        self.asked.append(alias)
        found = next((each for each in reversed(self.incidents) if each.key == alias), None)
        if found is None:
            return 404, {"message": "Alert not found", "took": 0.0, "requestId": "r"}
        by = found.by.get("summary", "")
        report = {"closedBy": by} if found.status == "closed" else {"acknowledgedBy": by}
        data = {
            "id": "1",
            "alias": alias,
            "status": "closed" if found.status == "closed" else "open",
            "acknowledged": found.status == "acknowledged",
            "report": report,
        }
        return 200, {"data": data, "took": 0.1, "requestId": "r"}


def _wrong_event(body: Any) -> Iterator[str]:
    if len(json.dumps(body)) > 512 * 1024 or set(body) - _EVENT:
        yield "size or unknown fields"
    if not re.fullmatch("[A-Za-z0-9]{32}", str(body.get("routing_key"))):
        yield "Length of 'routing_key' is incorrect (should be 32 characters)"
    if body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        yield "'event_action' is invalid"
    if not 1 <= len(str(body.get("dedup_key") or "")) <= 255:
        yield "'dedup_key' is missing"
    if body.get("event_action") != "trigger":
        return
    payload = body.get("payload")
    if not isinstance(payload, dict) or set(payload) - _PAYLOAD:
        yield "'payload' is missing or has unknown fields"
        return
    if not 1 <= len(payload.get("summary") or "") <= 1024 or not payload.get("source"):
        yield "'payload.summary' or 'payload.source' is missing or too long"
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        yield "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')"
    if "timestamp" in payload:
        datetime.fromisoformat(payload["timestamp"])
    for each in body.get("links", ()):
        if not str(each.get("href", "")).startswith("http"):
            yield "'links' is invalid"


def _wrong_create(body: Any) -> str:
    limits = {
        "message": 130,
        "alias": 512,
        "description": 15000,
        "entity": 512,
        "source": 100,
        "user": 100,
        "note": 25000,
    }
    if set(body) - _CREATE or not body.get("message"):
        return "message"
    for name, limit in limits.items():
        if len(body.get(name, "")) > limit:
            return name
    if body.get("priority", "P3") not in ("P1", "P2", "P3", "P4", "P5"):
        return "priority"
    if len(body.get("tags", ())) > 20 or any(len(each) > 50 for each in body.get("tags", ())):
        return "tags"
    details = body.get("details", {})
    if sum(len(name) + len(each) for name, each in details.items()) > 8000:
        return "details"
    return _wrong_responder(body)


def _wrong_responder(body: Any) -> str:
    if any(each["type"] not in ("team", "user", "escalation", "schedule") for each in body.get("responders", ())):
        return "responders"
    return ""


def _wrong_action(body: Any, action: str | None) -> str:
    if set(body) - {"user", "source", "note"} or (action == "notes" and not body.get("note")):
        return "note"
    return "user" if len(body.get("user", "")) > 100 or len(body.get("note", "")) > 25000 else ""


def _answer(request: _Request, status: int, found: Any, retry_after: str = "") -> None:
    octets = json.dumps(found).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(octets)))
    if retry_after:
        request.send_header("Retry-After", retry_after)
    request.end_headers()
    request.wfile.write(octets)


@contextmanager
def pagerduty() -> Iterator[PagerDuty]:
    """Yield a PagerDuty."""
    with webhook() as server:
        yield PagerDuty(server)


@contextmanager
def opsgenie(delay: int = 1) -> Iterator[Opsgenie]:
    """Yield an Opsgenie."""
    with webhook() as server:
        yield Opsgenie(server, delay)
