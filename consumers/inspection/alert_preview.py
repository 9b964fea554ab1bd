"""Which alerts an event would open or close, what would suppress them, and who would get the change.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.cluster.facts.views import Known
from router.model.catalogue import Catalogues
from router.model.events import Event, Severity
from router.model.ids import NONE
from router.model.node_words import word_of
from router.sources.event_selectors import select

from ..alerts.active_rules import ActiveRules
from ..alerts.alert_row import AlertRow, key_of
from ..alerts.life.changes import Change
from ..alerts.life.observations import Observation
from ..alerts.owners import Owner, Owners
from ..alerts.rules import Rule
from ..alerts.sightings import Sighting
from ..subscriptions.models import Subscription
from .dry_run import consider


@dataclass(frozen=True, slots=True)
class AlertPreview:
    """One alert that an event would open, or close if it is open.

    *change* is its event if nothing suppresses the alert.  *owner* is the row of the setting that says who is
    responsible, None if none does or the rule names a contact.  *suppressors* are the rules because of whose alerts it
    would not be told, each with the names of what both have to be about beside the node, and *receivers* the
    subscriptions that would get the change.
    """

    sighting: Sighting
    change: Event
    owner: Owner | None = None
    suppressors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    receivers: Sequence[str] = ()
    claims: bool = False
    """Whether a second node has to report the end too, of an alert that others reported."""

    def as_dict(self) -> dict[str, Any]:
        """Return the preview as plain values."""
        seen = self.sighting
        return {
            "rule": seen.rule,
            "opens": seen.opens,
            "claims": self.claims,
            "about": self.change.data["about"],
            "severity": seen.severity,
            "summary": seen.summary,
            "node": seen.node,
            "owner": seen.owner,
            "owners_row": self.owner.number if self.owner else None,
            "suppressors": list(self.suppressors),
            "receivers": list(self.receivers),
        }


class AlertPreviews:
    """Previews by the rules in force, the subscriptions, the owners and the facts of the clusters."""

    def __init__(
        self,
        rules: ActiveRules,
        subscriptions: Iterable[Subscription],
        owners: Owners,
        catalogues: Catalogues,
    ) -> None:
        """Keep all that decides."""
        self._rules, self._owners, self._catalogues = rules, owners, catalogues
        self._subscriptions = tuple(subscriptions)

    def of(self, event: Event, known: Known | None = None) -> list[AlertPreview]:
        """Return what *event* would open and close; *known* are the facts of its cluster."""
        return [self._preview(each, event, known) for each in self._rules.seen(event)]

    def _preview(self, seen: Sighting, event: Event, known: Known | None) -> AlertPreview:
        own = self._rules.rules[seen.rule].owner
        alone = self._rules.narrowed(self._rules.rules[seen.rule], event, seen.about)
        owner = self._owners.of(alone, known) if seen.opens and not own else None
        suppressors = {
            name: list(_shared(rule, seen)) for name, rule in self._rules.rules.items() if seen.rule in rule.suppresses
        }
        change = self._change(seen, event)
        # What closes does not say how severe the alert is that it closes.
        changes = [change] if seen.opens else [change.model_copy(update={"severity": each}) for each in self._all(seen)]
        receivers = [
            each.name
            for each in self._subscriptions
            if any(consider(each, one, one.topic, known).matched for one in changes)
        ]
        claims = Observation.of(event, seen).is_claim
        return AlertPreview(seen, change, owner, suppressors if seen.opens else {}, receivers, claims)

    def _all(self, seen: Sighting) -> Iterable[Severity]:
        """Return all severities that alerts of the rule may have."""
        rule = self._rules.rules[seen.rule]
        selected = (kind for text in rule.opens for kind in select(text, self._catalogues).types)
        usual = {rule.severity} if rule.severity else {level for kind in selected for level in kind.severities}
        return sorted(usual | {*rule.severity_if})

    def _change(self, seen: Sighting, event: Event) -> Event:
        """Return the change as the engine would publish it, if nothing suppresses the alert."""
        row = AlertRow(
            id=NONE,
            key=key_of(seen.rule, seen.cluster, seen.about),
            rule=seen.rule,
            cluster=seen.cluster,
            node=seen.node,
            event_node=event.node,
            nodes=seen.node,
            about=seen.about,
            state="open" if seen.opens else "closed",
            severity=seen.severity,
            summary=seen.summary,
            since=event.moment,
            until=None if seen.opens else event.moment,
            opened_by=event.id,
            last_opening=event.id,
            event_type=event.type,
            change=1,
            owner=seen.owner,
        )
        name = "alertOpened" if seen.opens else "alertClosed"
        return Change(row=row, name=name, at=event.moment, cause="event", last_event=event.id).event(self._catalogues)


def _shared(rule: Rule, seen: Sighting) -> Iterator[str]:
    """Yield the names in `by` of *rule* that what was *seen* is about too; the node is compared anyway."""
    known = {name: value for name, value in seen.about if not seen.node or word_of(str(value)) != seen.node}
    yield from (name for each in rule.by if (name := each.removeprefix("data.")) in known)
