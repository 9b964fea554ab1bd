"""Changes of alerts, each of which is published as one event, and is one line of the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from router.model.catalogue import Catalogues
from router.model.events import Event, Value
from router.model.ids import derived_id
from router.model.records import written
from router.pipeline.mapping import own_event

from ..alert_row import AlertRow, Cause

OVER = "over before it was known"
"""Why the life of an alert was never told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change: *row* is the alert after it.  With a *why* it is only kept, not told."""

    row: AlertRow
    name: str
    at: datetime
    cause: Cause
    by: str = ""
    comment: str = ""
    last_event: str | None = None
    why: str = ""

    @property
    def id(self) -> str:
        """The id of its event: always the same for this change of this alert."""
        return derived_id(self.row.id, f"change/{self.row.change}")

    def event(self, catalogues: Catalogues) -> Event:
        """Return the event that tells it."""
        row = self.row
        data: Mapping[str, Value] = {
            "alert": row.id,
            "rule": row.rule,
            "state": row.state,
            "change": row.change,
            "about": [f"{name}={_text(value)}" for name, value in row.about],
            "summary": row.summary,
            "since": written(row.since),
            "until": written(row.until) if row.until else None,
            "openings": row.openings,
            "openedBy": row.opened_by,
            "eventType": row.event_type,
            "lastEvent": self.last_event,
            "cause": self.cause,
            "nodes": row.nodes or None,
            "suppressedBy": row.suppressed_by,
            "suppressed": row.suppressed,
            "flapping": "yes" if row.flapping else "no",
            "owner": row.owner,
            "by": self.by or None,
            "comment": self.comment or None,
            "escalatedTo": row.escalated_to,
            "depth": row.depth,
        }
        event = own_event(
            self.name,
            data,
            catalogues,
            cluster=row.cluster,
            node=row.event_node,
            id_=self.id,
            moment=self.at,
        )
        return event.model_copy(update={"severity": row.severity})


def milliseconds(duration: timedelta) -> int:
    """Return *duration* in whole milliseconds, as the times that are due."""
    return duration // timedelta(milliseconds=1)


def _text(value: Value) -> str:
    return ",".join(value) if isinstance(value, list) else "" if value is None else str(value)
