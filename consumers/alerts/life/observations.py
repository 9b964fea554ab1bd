"""What is observed of an alert: events that open and close it, facts, acts of people, and that time has passed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Self

from router.model.events import OWN, Event, Severity
from router.pipeline.mapping import OF_RELAYS
from router.pipeline.reports.confirmations import ENDS

from ..alert_row import Cause
from ..sightings import Sighting

Act = Literal["ack", "unack", "note", "close"]
Kind = Literal["opens", "closes", "confirms", "confirms_end", "passes", Act]
"""`confirms` says that another node reports the same as what opened it, `confirms_end` as what closed it.  `passes`
says only that time has passed, so that what closes by itself is closed."""

ACTS: tuple[Act, ...] = ("ack", "unack", "note", "close")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One observation of one key.  Its id is that of its event, so that copies and repetitions count once.

    `at` is when it was captured; facts when reading them began; acts when they were done, but after all that was known.
    """

    id: str
    at: datetime
    kind: Kind
    cause: Cause = "event"
    event_type: str = ""
    event_node: str = ""
    vouched: bool = False
    """Whether who reports it is believed alone: the router, a consumer, or the node that the alert is about."""
    severity: Severity = "warning"
    summary: str = ""
    node: str = ""
    owner: str | None = None
    depth: int = 0
    by: str = ""
    comment: str = ""
    alert: str | None = None
    """The alert whose life began with this opening."""
    body: bytes | None = None
    """The event, where facts are to be asked about it."""

    found_at: datetime | None = None
    """When facts were known: they became true at some time from `at` until then."""

    @classmethod
    def of(cls, event: Event, seen: Sighting, *, depth: int = 0, asks_facts: bool = False) -> Self:
        """Return what *event* says of the alert *seen* in it; *asks_facts* keeps the event for those.

        *depth* is how many events of ours led to what it opens.
        """
        if seen.confirmed_by:
            kind: Kind = "confirms" if seen.opens else "confirms_end"
            by = seen.confirmed_by
            return cls(id=event.id, at=event.moment, kind=kind, event_type=event.type, event_node=by, node=seen.node)
        said = cls(
            id=event.id,
            at=event.moment,
            kind="closes",
            event_type=event.type,
            event_node=event.node,
            vouched=vouches(event, seen.node),
            node=seen.node,
        )
        if not seen.opens:
            return said
        return replace(
            said,
            kind="opens",
            severity=seen.severity,
            summary=seen.summary,
            owner=seen.owner,
            depth=depth,
            body=event.to_json() if asks_facts else None,
        )

    @property
    def is_claim(self) -> bool:
        """Whether it says of what other nodes reported that it is over, which they would all report if it were true."""
        is_end = self.kind == "closes" and self.event_type in ENDS
        return is_end and bool(self.event_node) and not self.vouched

    @property
    def order(self) -> tuple[datetime, str]:
        """What observations are sorted by."""
        return self.at, self.id

    @property
    def ended_at(self) -> datetime:
        """When what this closes ended, as far as is known: never before it can have been seen."""
        return self.at if self.found_at is None else max(self.at, self.found_at)


def vouches(event: Event, node: str) -> bool:
    """Say whether who reports *event* is believed alone on an alert about *node*; empty if that is about none."""
    # The router rejects what a node reports of the other categories.
    is_ours = event.origin == OWN and event.category not in OF_RELAYS
    return is_ours or event.node == node
