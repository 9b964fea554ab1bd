"""The command `clusterbus route`: what each subscription would do with an event, and why.  Works offline."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from router.cli.app import Json, current, moment
from router.cli.catalogue import event_names
from router.cli.output import Styled, fail, say, show
from router.errors import InvalidEvent, UnknownEvent, UnknownVariable
from router.model import event_words
from router.model.catalogue import Catalogues
from router.model.events import Event
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from ..alerts.active_rules import ActiveRules
from ..alerts.owners import Owners
from ..config.registrations import Registrations
from ..config.synthetic_events import CLUSTER, NODE, synthetic_event
from ..errors import SyntheticEventError
from ..expressions.facts_cache import FactsCache
from ..expressions.sanitize import shortened
from ..inspection.alert_preview import AlertPreview, AlertPreviews
from ..inspection.dry_run import Rehearsal, rehearse
from ..inspection.rehearsal_view import show_alert, show_one
from ..inspection.test_runner import planner
from ..subscriptions.fact_use import looked_up
from ..subscriptions.models import Subscription, Subscriptions
from .options import FileOption, loaded

EventOrFile = Annotated[
    str,
    typer.Argument(
        help="An event type, such as softQuotaExceeded, gpfs.softQuotaExceeded or gpfs softQuotaExceeded, or a file "
        "with an event as JSON (- is standard input).",
        autocompletion=event_names,
    ),
]

At = Annotated[
    str | None, typer.Option(help="When the event happens: 18:00, monday 07:00, 2026-11-20T12:00Z; by default now.")
]

_SHOWN = 2000


def route(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    event: EventOrFile,
    variables: Annotated[
        list[str] | None, typer.Argument(help="Variables as NAME=VALUE; others are examples of what is registered.")
    ] = None,
    *,
    file: FileOption = None,
    node: Annotated[str | None, typer.Option(help="The node where the event happens.")] = None,
    cluster: Annotated[str | None, typer.Option(help="The cluster where the event happens.")] = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Show which subscriptions match an event and what they would do, and which alerts it would open or close."""
    registrations, now = Registrations.of_site(catalogues(current(context)), current(context)), datetime.now(UTC)
    note = unregistered = ""
    try:
        if _is_file(event, registrations.catalogues):
            if variables or node or cluster or at:
                fail("an event as JSON is already complete: omit NAME=VALUE, --node, --cluster and --at", 2)
            happened = _read(event)
        else:
            written = event_words.read([event, *(variables or [])], registrations.catalogues)
            happened = synthetic_event(
                written.event_type,
                written.variables,
                registrations,
                moment=moment("--at", at, now).moment.astimezone(UTC) if at else now,
                node=node or NODE,
                cluster=cluster or CLUSTER,
                completed=True,
            )
            note, unregistered = _note(written), registrations.why_none([written.event_type])
    except (UnknownEvent, UnknownVariable, SyntheticEventError, InvalidEvent) as error:
        fail(str(error), 2)
    subscriptions = loaded(context, file)
    found = list(rehearsals(subscriptions.subscriptions, happened, current(context)))
    _show(happened, found, note, unregistered, as_json=as_json)
    _show_alerts(happened, alert_previews(subscriptions, current(context), happened), as_json=as_json)
    if not any(each.verdict.matched for each in found):
        raise typer.Exit(1)


def _is_file(text: str, catalogues: Catalogues) -> bool:
    return text == "-" or (text not in catalogues and not catalogues.find(text) and Path(text).is_file())


def _note(written: event_words.Written) -> str:
    """Return what to know of an event that was made up."""
    whose = "the other variables" if written.variables else "the variables"
    what = f"{whose} are those that this site registers, with examples of values: set others with NAME=VALUE"
    return f"{what}, and leave one empty with NAME="


def rehearsals(subscriptions: Iterable[Subscription], event: Event, settings: Settings) -> Iterator[Rehearsal]:
    """Yield what each of *subscriptions* would do with *event*."""
    every = list(subscriptions)
    known = looked_up(settings, every, event)
    for each in every:
        with planner(each, settings) as plan:
            yield rehearse(each, event, plan, known)


def alert_previews(subscriptions: Subscriptions, settings: Settings, event: Event) -> list[AlertPreview]:
    """Return the alerts that *event* would open or close."""
    known_types, facts = catalogues(settings), FactsCache(settings)
    owners = Owners(settings.consumers.owners, known_types)
    rules = ActiveRules(subscriptions.alerts, known_types, facts, owners.contact_of(facts))
    if rules.needs_facts or owners.needs_facts:
        facts.begin()
    known = facts.of(event.cluster)
    return AlertPreviews(rules, subscriptions.subscriptions, owners, known_types).of(event, known)


def _read(place: str) -> Event:
    body = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
    return Event.from_json(body)


def _show_alerts(event: Event, found: Iterable[AlertPreview], *, as_json: bool) -> None:
    for each in found:
        if as_json:
            say({"event": event.type, "topic": event.topic, "alert": each.as_dict()}, as_json=True)
        else:
            show_alert(each)


def _show(event: Event, found: Iterable[Rehearsal], note: str, unregistered: str, *, as_json: bool) -> None:
    if as_json:
        for each in found:
            about = {"event": event.type, "topic": event.topic, "unregistered": unregistered}
            say({**about, **each.as_dict()}, as_json=True)
        return
    facts = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in event.data.items())
    show(Styled(event.topic, "bold"), f"  {shortened(facts, _SHOWN)}")
    for text, style in ((note, "dim"), (unregistered, "yellow")):
        if text:
            show(Styled(text, style))
    if event.malformed:
        show(Styled(f"these values do not fit their types and stay text: {event.malformed}", "yellow"))
    for each in found:
        show_one(each)
