"""The commands of `clusterbus` that concern nodes, records and events.

`consumers/cli.py` adds the others and is where the program starts.
"""

import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from . import admitting, durations, events, records, topics
from .broker import Arrival, Broker, Message, Settlement
from .broker.topology import HISTORY, INGRESS
from .catalogue import Catalogues
from .command import (
    SEVERITIES,
    Json,
    app,
    connect,
    current,
    fail,
    loaded,
    open_session,
    run_until_stopped,
    say,
    topology,
)
from .deploying import nodes_app
from .errors import Refused
from .registering import callbacks_app
from .service import Router
from .state import State

broker_app = typer.Typer(help="The broker's side: exchanges, queues, bindings.", no_args_is_help=True)
app.add_typer(broker_app, name="broker")
app.add_typer(nodes_app, name="nodes")
app.add_typer(callbacks_app, name="callbacks")
broker_app.command("users")(admitting.users)


@app.command("router")
def route(context: typer.Context) -> None:
    """Turn records into events; a second one is a hot standby."""
    wanted = current(context).router
    broker = connect(context, "clusterbus-router")
    broker.declare(topology(context))
    with State(wanted.state) as state:
        router = Router(
            broker=broker,
            state=state,
            catalogues=Catalogues.shipped(),
            window=wanted.window,
            trusted=wanted.trusted_users,
            silence=wanted.silence,
            keep=wanted.keep,
        )
        router.start()
        run_until_stopped(broker)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def relay(context: typer.Context) -> None:
    """Carry this node's spool to the broker; takes the options of `python -m shim.relay`."""
    # A program of its own: nodes have it without the rest, and nothing here may import it.
    os.execv(sys.executable, [sys.executable, "-m", "shim.relay", *context.args])  # noqa: S606 - no shell, own program


@app.command()
def emit(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="Where it comes from, such as gpfs.")],
    event: Annotated[str, typer.Argument(help="The event's name, such as softQuotaExceeded.")],
    variables: Annotated[list[str] | None, typer.Argument(help="NAME=VALUE, such as fsName=gpfs1.")] = None,
    node: Annotated[str, typer.Option(help="The node that it happened on.")] = "operator",
    cluster: Annotated[str, typer.Option(help="The cluster.")] = "local",
    as_json: Json = False,
) -> None:
    """Publish an event by hand, as a node would; your broker user has to be one of `router.trusted_users`."""
    arguments: list[str] = []
    for each in variables or []:
        name, equals, value = each.partition("=")
        if not equals or not name:
            fail(f"{each!r} is not NAME=VALUE", 2)
        arguments += [f"--{name}", value]
    moment = datetime.now(UTC)
    record = records.Record(
        id=records.new_id(),
        source=topics.word(source),
        event=topics.word(event),
        cluster=topics.word(cluster),
        node=topics.word(node),
        captured_at=f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}000Z",
        boot="",
        arguments=tuple(arguments),
    )
    key = str(topics.IngressKey(record.source, record.cluster, record.event, record.node))
    body = records.encode(record)
    with open_session(context, "clusterbus-emit") as session:
        (settlement,) = session.publish([Message(INGRESS, key, body, record.id, event, "application/json")])
    if settlement is not Settlement.CONFIRMED:
        raise Refused(f"the record was not taken: {settlement.value}")
    say({"id": record.id, "key": key}, as_json=as_json, text=f"{record.id} {key}")


@app.command()
def tail(
    context: typer.Context,
    pattern: Annotated[str, typer.Argument(help="Topic pattern, such as 'gpfs.*.disk.#'.")] = "#",
    since: Annotated[str | None, typer.Option(help="How far back, such as 1h; without it, from now on.")] = None,
    follow: Annotated[bool, typer.Option(help="Stay for what comes; else stop at the newest.")] = True,
    as_json: Json = False,
) -> None:
    """Show events as they come, from history."""
    topics.check_pattern(pattern)
    back = durations.parse(since) if since else None
    if back is None and not follow:
        fail("--no-follow needs --since", 2)
    start = datetime.now(UTC)
    broker = connect(context, "clusterbus-tail", impatient=True)
    console = Console(soft_wrap=True)
    quiet = _Quiet(broker) if not follow else None

    def show(arrival: Arrival) -> None:
        if quiet:
            quiet.again()
        if not topics.matches(pattern, arrival.key):
            return
        event = events.Event.from_json(arrival.body)
        # A stream is entered at the beginning of a chunk, which may be older than what was asked for.
        if back is None or event.moment >= start - back:
            _show(console, event, as_json=as_json)

    # AMQP's interval is in whole seconds, and entering earlier only means to skip more.
    offset = "next" if back is None else f"{int(back.total_seconds()) + 60}s"
    broker.consume(HISTORY, show, prefetch=1000, offset=offset)
    run_until_stopped(broker)


class _Quiet:
    """Stops a reader of history once nothing more has come for a second: the newest was reached."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._cancel = broker, broker.later(timedelta(seconds=3), broker.stop)

    def again(self) -> None:
        self._cancel()
        self._cancel = self._broker.later(timedelta(seconds=1), self._broker.stop)


def _show(console: Console, event: events.Event, *, as_json: bool) -> None:
    if as_json:
        typer.echo(event.to_json().decode())
        return
    facts = " ".join(f"{name}={value}" for name, value in event.data.items() if value is not None)
    style = SEVERITIES[event.severity]
    console.print(
        f"{event.time[:19]} ", event.severity.ljust(8), event.topic, facts, style=style, highlight=False, markup=False
    )


@app.command()
def catalogue(
    name: Annotated[str | None, typer.Argument(help="An event type; without it, all of them.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this source's.")] = None,
    as_json: Json = False,
) -> None:
    """Show event types and their variables."""
    shipped = Catalogues.shipped()
    found = [each for each in shipped.all() if source in (None, each.source)]
    if name is not None:
        found = [each for each in found if each.name.lower() == name.lower()]
        if not found:
            near = shipped.near(name)
            fail(f"no event type {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    if as_json:
        for each in found:
            say(asdict(each), as_json=True)
        return
    table = Table(box=None, header_style="bold")
    for column in ("event", "category", "scope", "severity", "variables" if name is None else "meaning"):
        table.add_column(column)
    for each in found:
        last = " ".join(each.variables) if name is None else each.meaning
        table.add_row(each.name, each.category, each.scope, each.severity, last)
    console = Console()
    console.print(table)
    if name is not None:
        _show_variables(console, shipped, found)


def _show_variables(console: Console, shipped: Catalogues, found: list[Any]) -> None:
    table = Table(box=None, header_style="bold")
    for column in ("variable", "type", "unit", "example", "meaning"):
        table.add_column(column)
    for each in found:
        variables = shipped.of(each.source).variables
        for variable in (variables[name] for name in each.variables):
            table.add_row(
                variable.name, variable.type, variable.unit or "", str(variable.example or ""), variable.meaning
            )
    console.print(table)


@broker_app.command("setup")
def setup(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, do nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Declare exchanges, queues and bindings; nothing that is there is changed."""
    wanted = topology(context)
    if not dry_run:
        with open_session(context, "clusterbus-setup") as session:
            session.declare(wanted)
    for kind, each in [
        (type(each).__name__.lower(), each)
        for part in (wanted.exchanges, wanted.queues, wanted.bindings)
        for each in part
    ]:
        facts = asdict(each)
        shown = " ".join(f"{name}={value}" for name, value in facts.items() if value)
        say({"object": kind, **facts}, as_json=as_json, text=f"{kind:9}{shown}")


@app.command("settings")
def show_settings(context: typer.Context, as_json: Json = False) -> None:
    """Show each setting, and where it was set; secrets are left out."""
    for name, value, origin in loaded(context).rows():
        say({"setting": name, "value": value, "from": origin}, as_json=as_json, text=f"{name:28}{value:48}{origin}")
