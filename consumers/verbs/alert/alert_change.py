"""A change of an alert, as read from its event.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from router.model.events import OWN, Event, Severity, Value

from ...errors import Rejected

CATEGORY = "alert"

OPEN, ACKNOWLEDGED, CLOSED = "open", "acknowledged", "closed"


@dataclass(frozen=True, slots=True)
class AlertChange:
    """What one event says about an alert: *name* is the change, *number* its place in the life of *alert*."""

    name: str
    alert: str
    rule: str
    cluster: str
    node: str
    state: str
    number: int
    severity: Severity
    about: Mapping[str, str]
    summary: str
    since: datetime
    until: datetime | None
    openings: int
    opened_by: str
    event_type: str
    nodes: str
    suppressed_by: str
    suppressed: int
    owner: str
    by: str
    comment: str

    @property
    def is_closed(self) -> bool:
        """Whether the alert is over."""
        return self.state == CLOSED

    @property
    def title(self) -> str:
        """One line for people, never empty."""
        what = ", ".join(f"{name} {value}" for name, value in self.about.items())
        return self.summary or (f"{self.rule}: {what}" if what else self.rule)

    @classmethod
    def of(cls, event: Event) -> AlertChange:
        """Return the change in *event*; raises Rejected if it is not about an alert."""
        if event.origin != OWN or event.category != CATEGORY:
            raise Rejected(f"{event.type} is not a change of an alert")
        data = event.data
        alert, number, since = data.get("alert"), data.get("change"), _moment(data.get("since"))
        if not isinstance(alert, str) or not alert or not isinstance(number, int) or since is None:
            raise Rejected(f"{event.type} does not say which alert has changed")
        texts = {name: _text(data.get(name)) for name in _TEXTS}
        return cls(
            name=event.name,
            alert=alert,
            cluster=event.cluster,
            node=event.node,
            state=texts["state"] or OPEN,
            number=number,
            severity=event.severity,
            about=_pairs(data.get("about")),
            since=since,
            until=_moment(data.get("until")),
            openings=_count(data.get("openings")),
            suppressed=_count(data.get("suppressed")),
            rule=texts["rule"],
            summary=texts["summary"],
            opened_by=texts["openedBy"],
            event_type=texts["eventType"],
            nodes=texts["nodes"],
            suppressed_by=texts["suppressedBy"],
            owner=texts["owner"],
            by=texts["by"],
            comment=texts["comment"],
        )


_TEXTS = ("state", "rule", "summary", "openedBy", "eventType", "nodes", "suppressedBy", "owner", "by", "comment")


def _text(value: Value) -> str:
    return "" if value is None or isinstance(value, list) else str(value)


def _count(value: Value) -> int:
    return value if isinstance(value, int) else 0


def _moment(value: Value) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)


def _pairs(value: Value) -> Mapping[str, str]:
    """Return the values by name in *value*, which has `name=value` in each item.

    >>> _pairs(["fsName=gpfs1", "path=/a=b"])
    {'fsName': 'gpfs1', 'path': '/a=b'}
    """
    items = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return {name: found for name, equals, found in (each.partition("=") for each in items) if equals and name}
