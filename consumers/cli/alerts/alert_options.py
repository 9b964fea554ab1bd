"""The options that say which alerts are meant.  What no alert and no rule is named is a mistake, or is pointed out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy.engine import Connection

from router.cli.app import past
from router.cli.output import fail
from router.errors import did_you_mean
from router.model.events import Severity
from router.settings import loading
from router.settings.models import Settings

from ...alerts import shipped_rules
from ...alerts.alert_row import State
from ...config import subscription_files
from ...inspection.status import alert_listing
from ...inspection.status.alert_listing import OPEN, AlertFilter
from ...store.alerts import alerts

STATES: Mapping[str, tuple[State, ...]] = {
    "open": ("open",),
    "acknowledged": ("acknowledged",),
    "closed": ("closed",),
    "unclosed": OPEN,
    "all": (*OPEN, "closed"),
}


def _rule_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of rules that begin with *incomplete*, for completion."""
    with suppress(Exception):
        settings = loading.load(context.find_root().params.get("file")).settings
        return sorted(each for each in _rules(settings) if each.startswith(incomplete))
    return []


StateOption = Annotated[
    str, typer.Option("--state", help=f"Only in this state: {', '.join(STATES)}; by default all that are not closed.")
]
RuleOption = Annotated[str | None, typer.Option("--rule", help="Only of this rule.", autocompletion=_rule_names)]
SeverityOption = Annotated[Severity | None, typer.Option("--severity", help="Only of this severity or a worse one.")]
NodeOption = Annotated[str | None, typer.Option("--node", help="Only about these nodes, as a node set: nsd[01-04].")]
ClusterOption = Annotated[str | None, typer.Option("--cluster", help="Only of this cluster.")]
SinceOption = Annotated[str | None, typer.Option("--since", help="Only opened after this: 1h, 18:00, monday 07:00.")]


def wanted(
    state: str, rule: str | None, severity: Severity | None, node: str | None, cluster: str | None, since: str | None
) -> AlertFilter:
    """Return which alerts the options select; ends the command where one of them cannot be read."""
    if state not in STATES:
        fail(f"--state {state}: use one of {', '.join(STATES)}", 2)
    try:
        nodes = None if node is None else alert_listing.expanded(node)
    except ValueError as error:
        fail(f"--node: {error}", 2)
    moment = None if since is None else past("--since", since, datetime.now(UTC))
    return AlertFilter(STATES[state], rule, cluster, severity, nodes, moment)


def check_rule(transaction: Connection, rule: str | None, settings: Settings) -> None:
    """End the command if there is no *rule* of this name, and the store has no alert of one."""
    if rule is None or rule in (known := _rules(settings)):
        return
    if not alerts.select(transaction, states=STATES["all"], rule=rule, limit=1):
        similar = did_you_mean(rule, known | alerts.known(transaction, "rule"))
        fail(f"--rule: there is no rule {rule!r}{similar or '; `clusterbus alerts rules` shows all'}", 2)


def unknown(transaction: Connection, given: AlertFilter) -> Iterator[str]:
    """Yield which names *given* are of none of the alerts that opened last, where these may be misspelled."""
    found = [] if given.cluster is None else [("--cluster", given.cluster, alerts.known(transaction, "cluster"))]
    # A node about which there are no alerts is what people hope for: only a similar name is worth a word.
    known = alerts.known(transaction, "node") if given.nodes else set()
    found += [("--node", each, known) for each in sorted(given.nodes or ())[:1] if did_you_mean(each, known)]
    for option, name, others in found:
        if name not in others:
            yield f"{option}: no alert is of {name!r}{did_you_mean(name, others)}"


def _rules(settings: Settings) -> set[str]:
    """Return the names of all rules, without a check of the files."""
    paths = [settings.consumers.subscriptions]
    return {*shipped_rules.fields(), *subscription_files.names(paths, "alerts")}
