"""The commands on subscriptions and their queues: `clusterbus subscriptions list | remove`.

The queue of a subscription that left the files is kept until it is removed here; what is in it becomes dead letters.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from router.broker import Arrival, Broker, Settlement
from router.broker.asking import Facts
from router.broker.session import Session
from router.broker.topology import EVENTS, RETURN, Binding, Topology, queue_of, subscription
from router.catalogue import Catalogues
from router.command import Json, connect, current, fail, open_session, say
from router.errors import BrokerError, Refused

from . import check as checking
from .arrivals import unreadable_message
from .errors import did_you_mean
from .store import Store, attempts, bindings
from .subscriptions import Subscriptions

subscriptions_app = typer.Typer(help="Subscriptions and their queues on the broker.", no_args_is_help=True)

Files = Annotated[
    list[Path] | None, typer.Option("--file", help="Subscription files or folders; by default those of the settings.")
]

_PATIENCE = timedelta(seconds=3)
"""For what is only shown beside the rest."""

_QUIET = timedelta(seconds=2)
_PREFETCH = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """One subscription as it is listed; *waiting* and *consumers* are None where the broker has not told."""

    name: str
    on: str
    verb: str
    mode: str
    waiting: int | None
    consumers: int | None


@subscriptions_app.command("list")
def list_subscriptions(context: typer.Context, *, file: Files = None, as_json: Json = False) -> None:
    """Show subscriptions, those too that left the files but not the broker, and what waits in their queues."""
    found = _loaded(context, file)
    gone = sorted(_bound(context) - found.by_name.keys())
    known, note = _facts(context, [*found.by_name, *gone])
    rows = [
        Shown(each.name, " ".join(each.on), each.kind, each.mode, *_numbers(known.get(each.name)))
        for each in found.subscriptions
    ]
    rows += [Shown(each, "-", "-", "removed", *_numbers(known[each])) for each in gone if known.get(each)]
    if note:
        typer.echo(note, err=True)
    if as_json:
        for row in rows:
            say(asdict(row), as_json=True)
        return
    table = Table(box=None, header_style="bold")
    for column in ("name", "on", "verb", "mode", "waiting", "consumers"):
        table.add_column(column, overflow="fold")
    for row in rows:
        numbers = ("-" if each is None else str(each) for each in (row.waiting, row.consumers))
        table.add_row(row.name, row.on, row.verb, row.mode, *numbers)
    Console().print(table if rows else "no subscriptions")


@subscriptions_app.command("remove")
def remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A subscription that is not in the files any more.")],
    *,
    file: Files = None,
    force: Annotated[bool, typer.Option("--force", help="Though messages wait: they become dead letters.")] = False,
    as_json: Json = False,
) -> None:
    """Delete the queue of a subscription that left the files, after showing what is in it."""
    found = _loaded(context, file)
    if name in found.by_name:
        fail(f"{name} is still in {found.by_name[name].file}:{found.by_name[name].line}: take it out there first", 2)
    patterns, outcomes = _remembered(context, name)
    with open_session(context, "clusterbus-subscriptions") as session:
        held = session.queue_facts(queue_of(name))
        if held is None:
            fail(f"there is no queue of a subscription {name}{did_you_mean(name, _bound(context) - {name})}")
        if held.consumers:
            fail(f"{name} is still served by {held.consumers} consumers: have them read the files anew, or stop them")
        said = f"{name}: {held.messages} messages wait; recorded: {outcomes or 'nothing'}"
        say({"subscription": name, "waiting": held.messages, "recorded": outcomes}, as_json=as_json, text=said)
        if held.messages and not force:
            fail(f"{held.messages} messages wait for {name}: --force makes dead letters of them, and removes it")
        session.declare(_unbound(name, patterns))
    moved = park(connect(context, "clusterbus-subscriptions", impatient=True), name)
    with open_session(context, "clusterbus-subscriptions") as session:
        left = session.queue_facts(queue_of(name))
        if left and left.messages:
            fail(f"{left.messages} messages of {name} could not be made dead letters: nothing is removed, try again")
        session.delete(queue_of(name))
    text = f"removed {name}" + (f", {moved} messages are dead letters now" if moved else "")
    say({"subscription": name, "done": "removed", "letters": moved}, as_json=as_json, text=text)


def park(broker: Broker, name: str) -> int:
    """Make dead letters of what waits for the removed subscription *name*; return how many.

    Runs *broker*, and stops it once nothing more comes.  A message is settled when the dead letters have it.
    """
    moved: list[str] = []
    cancel = [broker.later(_QUIET * 2, broker.stop)]

    def again() -> None:
        cancel.pop()()
        cancel.append(broker.later(_QUIET, broker.stop))

    def settled(arrival: Arrival, settlement: Settlement) -> None:
        if settlement is not Settlement.CONFIRMED:
            raise Refused(f"a message of {name} was not taken by the dead letters: {settlement.value}")
        moved.append(arrival.id)
        broker.ack(arrival)
        again()

    def receive(arrival: Arrival) -> None:
        again()
        message = unreadable_message(arrival, name, "its subscription was removed")
        broker.publish(message, partial(settled, arrival))

    broker.consume(queue_of(name), receive, prefetch=_PREFETCH)
    broker.run()
    return len(moved)


def _unbound(name: str, patterns: set[str]) -> Topology:
    """Return that nothing more is to come to the queue of *name*."""
    queue = queue_of(name)
    returns = (each for each in subscription(name, []).bindings if each.exchange == RETURN)
    return Topology(stale=(*(Binding(EVENTS, queue, each) for each in sorted(patterns)), *returns))


def _loaded(context: typer.Context, file: list[Path] | None) -> Subscriptions:
    settings = current(context)
    return checking.load(file or [settings.consumers.subscriptions], Catalogues.shipped(), settings)


def _bound(context: typer.Context) -> set[str]:
    """Return the names of all subscriptions that ever had a queue."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        return bindings.names(transaction)


def _remembered(context: typer.Context, name: str) -> tuple[set[str], str]:
    """Return the patterns that *name* was ever bound by, and what is recorded of its deliveries."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        counts = attempts.count(transaction, subscription=name)
        return bindings.of(transaction, name), ", ".join(f"{each.attempts} {each.outcome}" for each in counts)


def _facts(context: typer.Context, names: list[str]) -> tuple[dict[str, Facts | None], str]:
    """Return what the broker says of the queues of *names*, or why it does not."""
    wanted = current(context).broker
    try:
        with Session(wanted.urls(), name="clusterbus-subscriptions", limit=min(_PATIENCE, wanted.patience)) as session:
            return {name: session.queue_facts(queue_of(name)) for name in names}, ""
    except BrokerError as error:
        return {}, f"what waits is not known: {error}"


def _numbers(facts: Facts | None) -> tuple[int | None, int | None]:
    return (facts.messages, facts.consumers) if facts else (None, None)
