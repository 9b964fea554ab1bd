"""What the queue of missed events of a service dropped itself: which events these are, and how the service gets them.

RabbitMQ keeps only the newest of them.  The router's state says when nothing waited for the service for the last time:
all of them are later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import typer

from ...broker.service_topology import lost_queue
from ...broker.session import Session
from ...errors import RouterError
from ...model import ids
from ...pipeline.state import State
from ...services.backlog import Backlog
from ..app import current

_MARGIN = timedelta(minutes=30)
"""What a service held longer without acknowledging it, RabbitMQ has taken back: see its `consumer_timeout`."""

_LIMIT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Lost:
    """The *newest* event that the queue of missed events of *service* dropped, by its id.

    All such events came after *since*, which is None where that is not known.
    """

    service: str
    newest: str
    since: datetime | None

    @property
    def moment(self) -> datetime:
        """When the newest of these events was captured."""
        return ids.moment_of(self.newest)

    @property
    def begin(self) -> str:
        """The time from which on a replay has all of them, as `--since` takes it; a placeholder if it is not known."""
        return f"{self.since.astimezone(UTC):%Y-%m-%dT%H:%MZ}" if self.since else "TIME"

    @property
    def command(self) -> str:
        """The command that gives all of them to the service."""
        return f"clusterbus services replay {self.service} --since {self.begin} --apply"

    def lines(self) -> Iterator[str]:
        """Yield what to tell people, with the way out."""
        until = f"{self.newest} ({self.moment:%Y-%m-%d %H:%M:%S} UTC)"
        yield f"{self.service} missed more than is kept for it: some events up to {until} are only in the history"
        yield f"{self.command} gives them to {self.service} again, with those that it has had since then"
        if self.since is None:
            pattern = f"clusterbus.*.router.serviceBehind.{self.service}.#"
            yield f"TIME is `emptiedAt` in the event that clusterbus tail '{pattern}' --since 7d shows, or earlier"


def commands(name: str, held: Backlog, lost: Lost | None) -> list[str]:
    """Return the commands that give service *name* what it missed."""
    missed = [f"clusterbus services replay {name} --missed --apply"] if held.missed else []
    return missed + ([lost.command] if lost else [])


def lost_events(context: typer.Context, session: Session, name: str) -> Lost | None:
    """Return what the queue of missed events of service *name* dropped; None if that is nothing."""
    head = session.head(lost_queue(name))
    if head is None or not ids.is_id(head.id):
        return None
    emptied = _emptied(current(context).router.state, name)
    return Lost(name, head.id, emptied and emptied - _MARGIN)


def forget(session: Session, lost: Lost) -> None:
    """Forget *lost*, which the service has been given, unless more was dropped since."""
    head = session.head(lost_queue(lost.service))
    if head and head.id == lost.newest:
        session.receive(lost_queue(lost.service), 1, limit=_LIMIT)


def _emptied(state: str, name: str) -> datetime | None:
    """Return when nothing waited for service *name* for the last time; None if no router says so here."""
    try:
        with State(state, upgrade=False) as opened, opened.transaction() as transaction:
            known = transaction.misses().get(name)
    except RouterError:
        return None
    return known.emptied if known else None
