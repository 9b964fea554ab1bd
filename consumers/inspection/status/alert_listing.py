"""Alerts as lists show them: filtered, the newest first, each with who was notified.  Read-only and bounded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.engine import Connection

from router.model.events import SEVERITIES, Severity
from router.model.node_words import word_of
from router.settings.local_zone import local_zone
from router.settings.models import Settings

from ...alerts.alert_row import AlertRow, State
from ...alerts.life.lifecycle import EndClaim
from ...config import subscription_files
from ...store import queries
from ...store.alerts import alerts
from ...store.alerts.alerts import ChangeRow

OPEN: Final[tuple[State, ...]] = ("open", "acknowledged")
_PAGE: Final = 500
_MOST_READ: Final = 20_000
"""How many alerts a list looks at, at most."""

_CHANGES: Final = 20
"""Of an alert, only deliveries of its last changes are looked up."""


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts to list: None selects all.  *nodes* are those that an alert is about, or was reported by."""

    states: Collection[State] = OPEN
    rule: str | None = None
    cluster: str | None = None
    severity: Severity | None = None
    nodes: frozenset[str] | None = None
    since: datetime | None = None

    @property
    def severities(self) -> Sequence[Severity] | None:
        """The severities at or above the one that is wanted."""
        return None if self.severity is None else at_least(self.severity)

    def matches(self, alert: AlertRow) -> bool:
        """Return whether *alert*, which the store has selected, has these nodes and has opened since then."""
        if self.since is not None and alert.since < self.since:
            return False
        if self.nodes is None:
            return True
        if alert.is_group:
            return not self.nodes.isdisjoint(expanded(alert.nodes))
        return (alert.node or alert.event_node) in self.nodes


def at_least(severity: Severity) -> Sequence[Severity]:
    """Return *severity* and all that are worse.

    >>> at_least("error")
    ('error', 'critical')
    """
    return SEVERITIES[SEVERITIES.index(severity) :]


def expanded(nodes: str) -> frozenset[str]:
    """Return the names in the node set *nodes*, as events have them.  Raises ValueError if it is none.

    >>> sorted(expanded("n[1-2],GW.example.com"))
    ['gw', 'n1', 'n2']
    """
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException  # noqa: PLC0415 - few lists need it

    try:
        # Never resolve groups: a name in an event could be a group, and a command would run to find its members.
        return frozenset(word_of(str(each)) for each in NodeSet(nodes, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise ValueError(f"{nodes!r} is no node set: {error}") from error


def find(transaction: Connection, wanted: AlertFilter, limit: int) -> tuple[list[AlertRow], bool]:
    """Return up to *limit* alerts, those that opened last first, and whether there may be more."""
    found: list[AlertRow] = []
    after: str | None = None
    for _ in range(_MOST_READ // _PAGE):
        page = alerts.select(
            transaction,
            states=wanted.states,
            rule=wanted.rule,
            cluster=wanted.cluster,
            severity=wanted.severities,
            limit=_PAGE,
            after=after,
        )
        found += [each for each in page if wanted.matches(each)]
        if len(found) > limit:
            return found[:limit], True
        if len(page) < _PAGE:
            return found, False
        after = page[-1].id
    return found, True


def silent(settings: Settings) -> set[str]:
    """Return the subscriptions that only write changes down, with `log`: nobody is notified by these."""
    return subscription_files.names_with([settings.consumers.subscriptions], "log")


def notified(transaction: Connection, alert_id: str, without: Collection[str] = ()) -> Mapping[str, str]:
    """Return who was notified of the latest changes of an alert: contacts, else subscriptions, each with how it ended.

    Subscriptions *without* notifications are left out.

    >>> from consumers.store.queries import Row
    >>> dict(_of_rows([]))
    {}
    """
    published = [each for each in alerts.history(transaction, alert_id) if each.told][-_CHANGES:]
    rows = [row for each in published for row in reversed(queries.find(transaction, event_id=each.id, limit=_PAGE))]
    return dict(_of_rows([each for each in rows if each.subscription not in without]))


def _of_rows(rows: Collection[queries.Row]) -> Iterator[tuple[str, str]]:
    for row in rows:
        contacts = row.result.get("told")
        named = [str(each) for each in contacts] if isinstance(contacts, dict) else []
        for name in named:
            yield name, "done"
        if not named or row.outcome not in ("done", None):
            yield row.subscription, row.outcome or "open"


def names_of(notified: Mapping[str, str]) -> str:
    """Return who was *notified*, as one text; with how it ended where nobody got it.

    >>> names_of({"storage-team": "done", "pager": "retry"})
    'storage-team, pager (retry)'
    """
    return ", ".join(name if how == "done" else f"{name} ({how})" for name, how in notified.items())


def claimed_end(claim: EndClaim) -> str:
    """Return what people read of an end that waits for a second node."""
    until = f"{claim.due.astimezone(local_zone()):%Y-%m-%d %H:%M:%S %Z}"
    return f"only {claim.by} reports the end: it closes when a second node does, at the latest at {until}"


def change_facts(change: ChangeRow) -> dict[str, Any]:
    """Return what programs read of *change*: `why` says why it was not published, `published` when it was."""
    return {name: value for name, value in asdict(change).items() if name != "told"}


def alert_facts(alert: AlertRow, now: datetime) -> dict[str, Any]:
    """Return what programs read of *alert*."""
    hidden = ("key", "told", "openings_told", "act", "tell_due", "remind_due", "escalate_due", "ask_due", "last_change")
    facts = {name: value for name, value in asdict(alert).items() if name not in hidden}
    end = alert.until or now
    return facts | {
        "about": dict(alert.about),
        "published": alert.told,
        "age": round((end - alert.since).total_seconds()),
    }
