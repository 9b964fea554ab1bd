"""The commands that show alerts: `clusterbus alerts list | show | history | watch`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from router.cli.app import Json, current
from router.cli.output import SEVERITIES, Live, Part, Styled, fields, note, rows, say
from router.settings.local_zone import local_zone
from router.terminal_text import counted

from ...alerts.alert_row import AlertRow
from ...alerts.life.lifecycle import EndClaim
from ...expressions.values import human_texts
from ...inspection.status import alert_listing
from ...inspection.status.alert_following import Following, News
from ...inspection.status.alert_listing import alert_facts
from ...store.alerts import alerts
from ...store.alerts.alerts import ChangeRow
from ...store.alerts.subjects import end_claim
from ...store.database import Store
from . import acts, alert_options, rules_command
from .alert_options import ClusterOption, NodeOption, RuleOption, SeverityOption, SinceOption, StateOption

alerts_app = typer.Typer(help="Alerts: what is wrong now, and who takes care of it.", no_args_is_help=True)
alerts_app.command()(acts.ack)
alerts_app.command()(acts.unack)
alerts_app.command("note")(acts.note)
alerts_app.command()(acts.close)
alerts_app.command()(rules_command.rules)

_LATEST = 100
_POLL = 2.0

OneAlert = Annotated[str, typer.Argument(help="The alert's id, or how it begins.")]


@alerts_app.command("list")
def list_alerts(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    *,
    state: StateOption = "unclosed",
    rule: RuleOption = None,
    severity: SeverityOption = None,
    node: NodeOption = None,
    cluster: ClusterOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = _LATEST,
    as_json: Json = False,
) -> None:
    """Show alerts, those that opened last first."""
    wanted, settings = alert_options.wanted(state, rule, severity, node, cluster, since), current(context)
    with Store(settings.consumers.store) as store, store.reading() as transaction:
        alert_options.check_rule(transaction, rule, settings)
        found, has_more = alert_listing.find(transaction, wanted, limit)
        unknown = [] if found else [*alert_options.unknown(transaction, wanted)]
    _print(found, as_json=as_json)
    for each in unknown:
        note(each)
    if has_more and not as_json:
        note(f"there may be more: only the {len(found)} that opened last are shown; use --limit or other options")


@alerts_app.command("show")
def show_alert(context: typer.Context, alert: OneAlert, as_json: Json = False) -> None:
    """Show one alert: what it is about, since when, who takes care of it, who was notified, and what happened to it."""
    settings = current(context)
    silent = alert_listing.silent(settings)
    with Store(settings.consumers.store) as store, store.reading() as transaction:
        found = alerts.find(transaction, alert)
        changes = alerts.history(transaction, found.id)
        notified = alert_listing.notified(transaction, found.id, silent)
        claim = None if found.until else end_claim(transaction, found.key)
    if as_json:
        facts = alert_facts(found, datetime.now(UTC))
        say(
            facts
            | {"end_claimed_by": claim.by if claim else None, "end_claim_due": claim.due if claim else None}
            | {"notified": dict(notified), "changes": [alert_listing.change_facts(each) for each in changes]},
            as_json=True,
        )
        return
    fields(_fields(found, notified, claim))
    _print_changes(changes)


@alerts_app.command("history")
def history(context: typer.Context, alert: OneAlert, as_json: Json = False) -> None:
    """Show all changes of one alert: when, what, who did it, and as which event it was published."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        changes = alerts.history(transaction, alerts.find(transaction, alert).id)
    _print_changes(changes, as_json=as_json)


@alerts_app.command("watch")
def watch(
    context: typer.Context,
    *,
    rule: RuleOption = None,
    severity: SeverityOption = None,
    node: NodeOption = None,
    cluster: ClusterOption = None,
    as_json: Json = False,
) -> None:
    """Show the alerts that are not closed, and go on showing what changes, until it is interrupted."""
    wanted, settings = alert_options.wanted("unclosed", rule, severity, node, cluster, None), current(context)
    live, following = Live(), Following(wanted)
    with Store(settings.consumers.store) as store:
        with store.reading() as transaction:
            alert_options.check_rule(transaction, rule, settings)
        while True:
            with store.reading() as transaction:
                news = following.look(transaction)
            for each in news:
                if as_json:
                    say(alert_facts(each.alert, datetime.now(UTC)), as_json=True)
                else:
                    live.show(*_line(each))
            if not as_json:
                number = f"{following.open} or more alerts" if following.has_more else counted(following.open, "alert")
                live.replace([[Styled(f"not closed: {number}, {datetime.now(UTC):%H:%M:%S} UTC", "dim")]])
            time.sleep(_POLL)


def _line(news: News) -> Sequence[Part]:
    alert, change = news
    style = "green" if alert.state == "closed" else SEVERITIES[alert.severity]
    word = change.name.removeprefix("alert").lower() if change else alert.state
    by = f" by {change.by}" if change and change.by else ""
    moment = (change.at if change else alert.since).astimezone(local_zone())
    what = f"{by}  {alert.severity}  {alert.rule}  {alert.summary}  {alert.cluster}  {alert.id}"
    return f"{moment:%Y-%m-%d %H:%M:%S}  ", Styled(word, style), what


def _print(found: Sequence[AlertRow], *, as_json: bool) -> None:
    now = datetime.now(UTC)
    rows(
        found,
        {
            "id": lambda each: each.id,
            "severity": lambda each: Styled(each.severity, SEVERITIES[each.severity]),
            "state": lambda each: each.state + (" (flapping)" if each.flapping else ""),
            "age": lambda each: human_texts.span((each.until or now) - each.since),
            "rule": lambda each: each.rule,
            "cluster": lambda each: each.cluster,
            "count": lambda each: each.openings,
            "by": lambda each: each.by,
            "summary": lambda each: each.summary + (" (suppressed)" if each.suppressed_by else ""),
        },
        as_json=as_json,
        facts=lambda each: alert_facts(each, now),
        empty="no alerts",
        cut=True,
    )


def _print_changes(changes: Sequence[ChangeRow], *, as_json: bool = False) -> None:
    rows(
        changes,
        {
            "at": lambda each: f"{each.at.astimezone(local_zone()):%Y-%m-%d %H:%M:%S}",
            "change": lambda each: each.name.removeprefix("alert").lower(),
            "cause": lambda each: each.cause,
            "by": lambda each: each.by,
            "comment": lambda each: each.comment,
            "event": _published_as,
        },
        as_json=as_json,
        facts=alert_listing.change_facts,
        empty="there are no changes",
    )


def _published_as(change: ChangeRow) -> str:
    if not change.told:
        return f"not published: {change.why}"
    return change.id if change.published else "is being published"


def _fields(alert: AlertRow, notified: Mapping[str, str], claim: EndClaim | None) -> Iterator[tuple[str, object]]:
    zone, end = local_zone(), alert.until or datetime.now(UTC)
    yield "alert", alert.id
    yield "summary", alert.summary
    yield "state", Styled(alert.state, "green" if alert.state == "closed" else SEVERITIES[alert.severity])
    yield "severity", alert.severity
    yield "rule", alert.rule
    yield "cluster", alert.cluster
    yield from ((name, value) for name, value in alert.about)
    yield "nodes", alert.nodes or alert.node or alert.event_node
    yield "since", f"{alert.since.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    if alert.until:
        yield "until", f"{alert.until.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    yield "age", human_texts.span(end - alert.since)
    yield "openings", alert.openings
    yield "flapping", "yes" if alert.flapping else "no"
    yield "opened by", f"{alert.event_type} {alert.opened_by}"
    yield "reported by", alert.event_node
    yield "confirmed by", alert.confirmed_by or "nobody"
    if claim:
        yield "end", alert_listing.claimed_end(claim)
    yield "owner", alert.owner or "-"
    yield "by", alert.by or "-"
    yield "comment", alert.comment or "-"
    yield "suppressed by", alert.suppressed_by or "-"
    yield "suppresses", alert.suppressed
    yield "notified", alert_listing.names_of(notified) or "nobody yet"
