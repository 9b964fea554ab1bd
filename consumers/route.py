"""The command `clusterbus route`: what each subscription would do with an event, and why not.  Offline, no effect."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from router import durations
from router.catalogue import Catalogues
from router.command import Json, app, current, fail, say
from router.errors import InvalidEvent
from router.events import Event
from router.sections import Settings

from . import check as checking
from .errors import OccasionError
from .knowledge import looked_up
from .occasions import CLUSTER, NODE, imagine, named
from .rehearsal import Rehearsal, does, rehearse
from .subscriptions import Subscription
from .trials import planner

Files = Annotated[
    list[Path] | None, typer.Option("--file", help="Subscription files or folders; by default those of the settings.")
]

_SIGNS = {"matched": "✓", "pattern": "·", "own": "·", "filter": "✗", "unclear": "?", "off": "○"}
_STYLES = {"matched": "green", "pattern": "dim", "own": "dim", "filter": "yellow", "unclear": "red", "off": "dim"}
_SHOWN = 2000


@app.command("route")
def route(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    event: Annotated[str, typer.Argument(help="An event type; or a file with an event as JSON, - for standard input.")],
    variables: Annotated[list[str] | None, typer.Argument(help="NAME=VALUE; none: the catalogue's examples.")] = None,
    *,
    file: Files = None,
    node: Annotated[str | None, typer.Option(help="The node that it happens on.")] = None,
    cluster: Annotated[str | None, typer.Option(help="The cluster.")] = None,
    at: Annotated[
        str | None, typer.Option(help="When it happens, such as 2026-11-20T12:00:00Z; now by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which subscriptions would take an event, what they would do, and why the others would not."""
    catalogues = Catalogues.shipped()
    settings = current(context)
    try:
        if event == "-" or (not catalogues.find(event) and Path(event).is_file()):
            if variables or node or cluster or at:
                fail("an event as JSON says itself what it is: leave out NAME=VALUE, --node, --cluster and --at", 2)
            happened = _read(event)
        else:
            given = _given(variables or [])
            happened = imagine(
                named(event, catalogues),
                given,
                catalogues,
                moment=_moment(at),
                node=node or NODE,
                cluster=cluster or CLUSTER,
            )
    except (OccasionError, InvalidEvent) as error:
        fail(str(error), 2)
    subscriptions = checking.load(file or [settings.consumers.subscriptions], catalogues, settings)
    found = list(rehearsals(subscriptions.subscriptions, happened, settings))
    _show(happened, found, as_json=as_json, examples=not variables and event != "-")
    if not any(each.verdict.matched for each in found):
        raise typer.Exit(1)


def rehearsals(subscriptions: Iterable[Subscription], event: Event, settings: Settings) -> Iterator[Rehearsal]:
    """Yield what each of *subscriptions* would do with *event*."""
    every = list(subscriptions)
    known = looked_up(settings, every, event)
    for each in every:
        with planner(each, settings) as plan:
            yield rehearse(each, event, plan, known)


def _read(place: str) -> Event:
    body = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
    return Event.from_json(body)


def _given(texts: Iterable[str]) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for each in texts:
        name, equals, value = each.partition("=")
        if not equals or not name:
            fail(f"{each!r} is not NAME=VALUE", 2)
        if name in given:
            fail(f"{name} is given twice", 2)
        given[name] = value
    return given


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--at {text!r} is no moment: write it as 2026-11-20T12:00:00Z", 2)
    # Without a zone it is this machine's, as people read their watch.
    return moment.astimezone(UTC)


def _show(event: Event, found: Iterable[Rehearsal], *, as_json: bool, examples: bool) -> None:
    if as_json:
        for each in found:
            say({"event": event.type, "topic": event.topic, **each.as_dict()}, as_json=True)
        return
    console = Console(highlight=False, soft_wrap=True)
    facts = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in event.data.items())
    console.print(Text.assemble((event.topic, "bold"), f"  {facts[:_SHOWN]}"))
    if examples:
        console.print(Text("its values are the catalogue's examples: give NAME=VALUE for others", "dim"))
    if event.malformed:
        console.print(Text(f"what does not fit its type stays text: {event.malformed}", "yellow"))
    for each in found:
        show_one(console, each)


def show_one(console: Console, found: Rehearsal) -> None:
    """Print what one subscription would do, for people."""
    subscription, verdict = found.subscription, found.verdict
    style = _STYLES[verdict.decision]
    word = does(subscription.kind) if verdict.matched else "not delivered"
    shadow = " (shadow: recorded, not done)" if verdict.matched and subscription.mode == "shadow" else ""
    line = Text.assemble((f"{_SIGNS[verdict.decision]} {subscription.name}", f"bold {style}"), f"  {word}{shadow}")
    console.print(line)
    console.print(Text(f"    because   {verdict.because}"))
    if found.refused:
        console.print(Text(f"    rejected  at once, a dead letter: {found.refused}", "red"))
    if found.unknown:
        console.print(Text(f"    effect    can't be told on this machine: {found.unknown}", "yellow"))
    for name, value in found.effect.items():
        if value is not None:
            console.print(Text(f"    {name:10}{_value(value)}"[:_SHOWN]))
    if found.attempts:
        times = ["at once", *(f"+{durations.text(each)}" for each in found.attempts[1:])]
        console.print(Text(f"    attempts  {', '.join(times)}"))
    for rule in found.rules:
        console.print(Text(f"    {rule}", "cyan"))


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
