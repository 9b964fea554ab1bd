"""The command `clusterbus why`: what happened to one event in each subscription, and why."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.app import Json, connect, current
from router.cli.output import SEVERITIES, Styled, fail, say, show
from router.errors import BrokerError
from router.model import ids
from router.model.events import Event
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from ..errors import AlertNotFound
from ..inspection.explain import Account, Trace, accounts, trace
from ..store.database import Store
from .options import FileOption, loaded

if TYPE_CHECKING:
    from ..inspection.alert_accounts import AlertAccount
    from ..subscriptions.models import Subscriptions

_STYLES = {"done": "green", "dead": "red", "retry": "yellow", "open": "yellow", "wait": "yellow", "unclear": "red"}
_SIGNS = {"done": "✓", "dead": "✗", "retry": "↻", "open": "…", "wait": "…", "unrecorded": "?", "unclear": "?"}


def why(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(help="The event's id.")],
    *,
    file: FileOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only the store; do not search history at the broker.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what happened to an event in each subscription: attempts, outcomes, next attempt, reasons."""
    event_id = event_id.upper()
    if not ids.has_form(event_id):
        fail(f"{event_id!r} is not an event id: use 26 letters and digits, as `clusterbus deliveries` shows them", 2)
    settings = current(context)
    with Store(settings.consumers.store) as store:
        known = trace(store, event_id)
    note = ""
    if known.event is None and offline:
        note = "the store does not have the event itself: without --offline, history is searched too"
    elif known.event is None:
        known, note = _from_history(context, known)
    if not known.is_known:
        _fail_if_alert(settings, event_id)
        fail(f"event {event_id} is unknown{f': {note}' if note else ', both to the store and to history'}")
    from ..subscriptions.fact_use import looked_up  # noqa: PLC0415 - an unknown event needs no subscriptions

    subscriptions = loaded(context, file)
    event = known.event
    then = looked_up(settings, subscriptions.subscriptions, event, event.moment) if event else None
    found = accounts(known, subscriptions, then)
    alerts = _alerts(settings, subscriptions, event) if event else []
    if as_json:
        facts = {"event_id": event_id, "event": known.event.type if known.event else None, "topic": known.topic}
        for each in (*(each.as_dict() for each in found), *({"alert": each.as_dict()} for each in alerts)):
            say(facts | each, as_json=True)
        return
    _show(known, found, note)
    for alert in alerts:
        _show_alert(alert)


def _alerts(settings: Settings, subscriptions: Subscriptions, event: Event) -> list[AlertAccount]:
    from ..alerts.active_rules import ActiveRules  # noqa: PLC0415 - as above
    from ..expressions.facts_cache import FactsCache  # noqa: PLC0415 - idem
    from ..inspection.alert_accounts import alert_accounts  # noqa: PLC0415 - idem

    facts = FactsCache(settings, at=event.moment)
    rules = ActiveRules(subscriptions.alerts, catalogues(settings), facts)
    if rules.needs_facts:
        facts.begin()
    with Store(settings.consumers.store) as store:
        return alert_accounts(store, event, rules)


def _fail_if_alert(settings: Settings, id_: str) -> None:
    from ..store.alerts import alerts  # noqa: PLC0415 - only what is no event may be an alert

    with suppress(AlertNotFound), Store(settings.consumers.store) as store, store.reading() as transaction:
        alerts.find(transaction, id_)
        fail(f"{id_} is an alert, not an event: clusterbus alerts history {id_}", 2)


def _from_history(context: typer.Context, known: Trace) -> tuple[Trace, str]:
    """Return *known* with the event from history; or *known*, and why the event is missing."""
    from ..inspection.history import look_up  # noqa: PLC0415 - only a search of history uses the broker

    try:
        ids.moment_of(known.event_id)  # from where to search; without it, there is no need to connect
        broker = connect(context, "clusterbus-why", impatient=True)
        event = look_up(broker, known.event_id, datetime.now(UTC))
    except (BrokerError, ValueError) as error:
        return known, f"the store does not have the event itself, and history cannot be searched: {error}"
    if event is None:
        return known, "neither the store nor history has the event itself"
    return replace(known, event=event), ""


def _show(known: Trace, found: Sequence[Account], note: str) -> None:
    event = known.event
    show(Styled(known.event_id, "bold"), f"  {known.topic}  {event.time[:19] if event else ''}")
    if note:
        show(Styled(note, "yellow"))
    for each in found:
        _show_one(each)
    for letter in known.letters:
        if letter.kind != "delivery":
            line = f"{letter.kind} letter {letter.id}, {letter.state}: {letter.reason}"
            show(Styled(f"! {line}", "red"))
            if letter.state == "kept":
                show(f"    → clusterbus dead replay {letter.id}")


def _show_alert(account: AlertAccount) -> None:
    row = account.row
    style = "green" if row and row.state == "closed" else SEVERITIES[account.sighting.severity]
    what = f"alert {row.id}, now {row.state}" if row else "no alert"
    show(Styled(f"{'▲' if account.sighting.opens else '▽'} {account.sighting.rule}", f"bold {style}"), f"  {what}")
    show(f"    {account.because}")
    for each in account.changes:
        got = ", ".join(f"{name} {outcome}" for name, outcome in account.outcomes.get(each.id, {}).items())
        show(
            Styled(f"    {each.at:%Y-%m-%d %H:%M:%S}  {each.name} {each.id}  {got or 'no subscription got it'}", "dim")
        )
    if row:
        show(f"    → clusterbus alerts history {row.id}")


def _show_one(account: Account) -> None:
    style = _STYLES.get(account.state, "dim")
    sign = _SIGNS.get(account.state, "·")
    show(Styled(f"{sign} {account.subscription}", f"bold {style}"), f"  {account.state}")
    show(f"    {account.because}")
    for row in account.rows:
        replayed = f" of replay {row.replay}" if row.replay else ""
        ended = f" to {row.ended:%H:%M:%S}" if row.ended else ""
        line = f"    {row.started:%Y-%m-%d %H:%M:%S}{ended}  attempt {row.attempt}{replayed}  {row.outcome or 'open'}"
        show(Styled(line, "dim"))
        if row.reason:
            first, more, _ = row.reason.partition("\n")
            show(Styled(f"        {first}{more and ' …'}", "dim"))
    if account.again:
        show(f"    next attempt about {account.again:%Y-%m-%d %H:%M:%S} UTC")
    for letter in account.letters:
        by = f" by {letter.by}" if letter.by else ""
        show(f"    dead letter {letter.id}, {letter.state}{by}")
    if account.advice:
        show(f"    → {account.advice}")
