"""The command `clusterbus why`: for one event, what became of it in each subscription, and why not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from router.catalogue import Catalogues
from router.command import Json, app, connect, current, fail, say
from router.errors import BrokerError

from . import check as checking
from .accounts import Account, Trace, accounts, trace
from .history import look_up
from .knowledge import looked_up
from .store import Store

_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
_STYLES = {"done": "green", "dead": "red", "retry": "yellow", "open": "yellow", "wait": "yellow", "unclear": "red"}
_SIGNS = {"done": "✓", "dead": "✗", "retry": "↻", "open": "…", "wait": "…", "unrecorded": "?", "unclear": "?"}


@app.command("why")
def why(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(help="The event's id.")],
    *,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", help="Subscription files or folders; by default those of the settings."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only the store: do not look into history.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what became of an event in each subscription: attempts, outcomes, what is to come, and why not."""
    event_id = event_id.upper()
    if not _ULID.match(event_id):
        fail(f"{event_id!r} is no event's id: those have 26 letters and digits, as `clusterbus deliveries` shows", 2)
    settings = current(context)
    subscriptions = checking.load(file or [settings.consumers.subscriptions], Catalogues.shipped(), settings)
    with Store(settings.consumers.store) as store:
        known = trace(store, event_id)
    note = ""
    if known.event is None and offline:
        note = "the event itself is not in the store: without --offline history is asked"
    elif known.event is None:
        known, note = _from_history(context, known)
    if not known.is_known:
        fail(f"there is no trace of event {event_id}{f': {note}' if note else ', neither in the store nor in history'}")
    event = known.event
    then = looked_up(settings, subscriptions.subscriptions, event, event.moment) if event else None
    found = accounts(known, subscriptions, then)
    if as_json:
        for each in found:
            facts = {"event_id": event_id, "event": known.event.type if known.event else None, "topic": known.topic}
            say(facts | each.as_dict(), as_json=True)
        return
    _show(known, found, note)


def _from_history(context: typer.Context, known: Trace) -> tuple[Trace, str]:
    """Return *known* with the event from history, or why it is without."""
    try:
        broker = connect(context, "clusterbus-why", impatient=True)
        event = look_up(broker, known.event_id, datetime.now(UTC))
    except BrokerError as error:
        return known, f"the event itself is not in the store, and history can't be asked: {error}"
    if event is None:
        return known, "the event itself is neither in the store nor in history"
    return replace(known, event=event), ""


def _show(known: Trace, found: Sequence[Account], note: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    event = known.event
    console.print(Text.assemble((known.event_id, "bold"), f"  {known.topic}  {event.time[:19] if event else ''}"))
    if note:
        console.print(Text(note, "yellow"))
    for each in found:
        _show_one(console, each)
    for letter in known.letters:
        if letter.kind != "delivery":
            line = f"{letter.kind} letter {letter.id}, {letter.state}: {letter.reason}"
            console.print(Text(f"! {line}", "red"))
            if letter.state == "kept":
                console.print(Text(f"    → clusterbus dead replay {letter.id}"))


def _show_one(console: Console, account: Account) -> None:
    style = _STYLES.get(account.state, "dim")
    sign = _SIGNS.get(account.state, "·")
    console.print(Text.assemble((f"{sign} {account.subscription}", f"bold {style}"), f"  {account.state}"))
    console.print(Text(f"    {account.because}"))
    for row in account.rows:
        replayed = f" of replay {row.replay}" if row.replay else ""
        ended = f" to {row.ended:%H:%M:%S}" if row.ended else ""
        line = f"    {row.started:%Y-%m-%d %H:%M:%S}{ended}  attempt {row.attempt}{replayed}  {row.outcome or 'open'}"
        console.print(Text(line, "dim"))
        if row.reason:
            console.print(Text(f"        {row.reason.splitlines()[0]}", "dim"))
    if account.again:
        console.print(Text(f"    comes again about {account.again:%Y-%m-%d %H:%M:%S} UTC"))
    for letter in account.letters:
        by = f" by {letter.by}" if letter.by else ""
        console.print(Text(f"    dead letter {letter.id}, {letter.state}{by}"))
    if account.advice:
        console.print(Text(f"    → {account.advice}"))
