"""What an event did to alerts, and which subscriptions got the changes, from the records of the store.  Read-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.model.events import Event

from ..alerts.active_rules import ActiveRules
from ..alerts.alert_row import AlertRow, key_of
from ..alerts.sightings import Sighting
from ..store import queries
from ..store.alerts.alerts import ChangeRow
from ..store.alerts.event_alerts import EventAlert, of_event
from ..store.database import Store
from .status.alert_listing import claimed_end

_MOST = 20
"""Most alerts of one event that are accounted for."""


@dataclass(frozen=True, slots=True)
class AlertAccount:
    """What the event did to one alert that a rule says it opens or closes: *done* is None if no engine has seen it.

    *outcomes* has the outcome of the last attempt of each subscription that got a change, by the change's id.
    """

    sighting: Sighting
    done: EventAlert | None
    outcomes: Mapping[str, Mapping[str, str]]

    @property
    def row(self) -> AlertRow | None:
        """The alert, if there was one."""
        return self.done.row if self.done else None

    @property
    def changes(self) -> Sequence[ChangeRow]:
        """The changes that the event caused."""
        return self.done.changes if self.done else ()

    @property
    def because(self) -> str:
        """What the event did, in one sentence."""
        if self.done is None:
            return "no engine of alerts has seen the event, or the rule has changed since"
        if self.row is None:
            return "opens no alert that is kept" if self.done.opens else "nothing was open to close"
        return ", ".join(each.name for each in self.changes) or _without_changes(self.done, self.row)

    def as_dict(self) -> dict[str, Any]:
        """Return the account as plain values."""
        changes = [
            {"id": each.id, "name": each.name, "at": each.at, "outcomes": dict(self.outcomes.get(each.id, {}))}
            for each in self.changes
        ]
        row = self.row
        return {
            "rule": self.sighting.rule,
            "opens": self.sighting.opens,
            "alert": row.id if row else None,
            "state": row.state if row else None,
            "suppressed_by": row.suppressed_by if row else None,
            "because": self.because,
            "changes": changes,
        }


def alert_accounts(store: Store, event: Event, rules: ActiveRules) -> list[AlertAccount]:
    """Return what *event* did to the alerts that *rules* say it opens or closes.  Raises StoreError."""
    sightings = {key_of(each.rule, each.cluster, each.about): each for each in rules.seen(event)[:_MOST]}
    if not sightings:
        return []
    with store.reading() as transaction:
        done = {each.key: each for each in of_event(transaction, event.id, sightings)}
        outcomes: dict[str, dict[str, str]] = {}
        for change in (one for each in done.values() for one in each.changes):
            # The newest attempts are first.
            attempts = reversed(queries.find(transaction, event_id=change.id))
            outcomes[change.id] = {row.subscription: row.outcome or "open" for row in attempts}
    return [AlertAccount(each, done.get(key), outcomes) for key, each in sightings.items()]


def _without_changes(done: EventAlert, row: AlertRow) -> str:
    if done.claim:
        return claimed_end(done.claim)
    if row.suppressed_by:
        return f"notifies nobody: alert {row.suppressed_by} suppresses it"
    if done.opens:
        return f"opened again what was open, {row.openings} times by now; reported at 2, 4, 8, ... openings"
    return "not published: over before it was known" if not row.told else "changed nothing that was known"
