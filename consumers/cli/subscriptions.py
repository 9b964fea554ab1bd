"""The commands on subscriptions and their queues: `clusterbus subscriptions list | show | resume | remove`.

The queue of a subscription that is no longer in the files stays until you remove it here; its messages become dead
letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from router.broker.amqp.requests import Facts
from router.broker.history import queue_ages
from router.broker.history.queue_ages import Age, Held
from router.broker.interface import Arrival, Broker, Settlement
from router.broker.session import Session
from router.broker.topology import RETURN, Topology, event_binding, queue_of, subscription
from router.cli.ages import age_facts, age_text
from router.cli.app import Json, connect, current, open_session, who
from router.cli.output import fail, fields, note, rows, say
from router.errors import BrokerError, Refused, did_you_mean
from router.services import service_files
from router.settings import loading
from router.settings.site_catalogue import catalogues
from router.terminal_text import counted, encoded

from ..delivery.messages import unreadable_message
from ..store import bindings, queries
from ..store.alerts import receiver_health
from ..store.database import Store
from ..store.limits import stops
from ..subscriptions.models import Subscription
from .options import FileOption, loaded, subscription_names

subscriptions_app = typer.Typer(help="Subscriptions and their queues.", no_args_is_help=True)

_PATIENCE = timedelta(seconds=3)
"""The limit for the queue counts, which the list can do without."""

_QUIET = timedelta(seconds=2)
_PREFETCH = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """One subscription in the list; *waiting* and *consumers* are None if the broker did not answer.

    *stopped* says since when and why it is stopped, if it is.
    """

    name: str
    on: str
    verb: str
    mode: str
    waiting: int | None
    consumers: int | None
    stopped: str = ""
    age: Age | None = None

    def facts(self) -> dict[str, object]:
        """Return it as JSON has it."""
        found = {each.name: getattr(self, each.name) for each in dataclass_fields(self) if each.name != "age"}
        return found | age_facts(self.age)


@subscriptions_app.command("list")
def list_subscriptions(context: typer.Context, *, file: FileOption = None, as_json: Json = False) -> None:
    """Show subscriptions and how many messages wait for each; also those that only the broker still has.

    `clusterbus services list` shows what waits for the programs of other teams.
    """
    rows(
        _list(context, file),
        {
            "name": lambda each: each.name,
            "on": lambda each: each.on,
            "verb": lambda each: each.verb,
            "mode": lambda each: each.mode,
            "waiting": lambda each: "-" if each.waiting is None else each.waiting,
            "oldest": lambda each: age_text(each.age),
            "consumers": lambda each: "-" if each.consumers is None else each.consumers,
            "stopped": lambda each: each.stopped or "-",
        },
        as_json=as_json,
        facts=Shown.facts,
        empty="no subscriptions",
    )
    if services := service_files.read(current(context).services.folder, catalogues(current(context))).definitions:
        note(f"clusterbus services list shows {counted(len(services), 'service')} of other teams")


def _list(context: typer.Context, file: list[Path] | None) -> list[Shown]:
    found = loaded(context, file)
    gone = sorted(_bound(context) - found.by_name.keys())
    known, unknown = _facts(context, [*found.by_name, *gone])
    stopped, ages, problem = _stopped(context), *_ages(context, found.subscriptions, known)
    for each in filter(None, (unknown, problem)):
        note(each)
    shown = [
        Shown(
            each.name,
            " ".join(each.on),
            each.kind,
            each.mode,
            *_numbers(known.get(each.name)),
            stopped.get(each.name, ""),
            ages.get(each.name),
        )
        for each in found.subscriptions
    ]
    return shown + [Shown(each, "-", "-", "removed", *_numbers(known[each])) for each in gone if known.get(each)]


def _ages(
    context: typer.Context, wanted: Sequence[Subscription], known: Mapping[str, Facts | None]
) -> tuple[Mapping[str, Age], str]:
    """Return the age of what waits for each of the subscriptions *wanted*; or nothing, and why."""
    held = {each.name: Held(each.patterns, facts.messages) for each in wanted if (facts := known.get(each.name))}
    return queue_ages.read(lambda: connect(context, "clusterbus-subscriptions", impatient=True), held)


@subscriptions_app.command("resume")
def resume(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A subscription that is stopped.")],
    *,
    comment: Annotated[str, typer.Option(help="Why it may go on; recorded with your name.")],
    as_json: Json = False,
) -> None:
    """Let a subscription go on that stopped (`guard.stop_after`); waiting deliveries follow within a minute."""
    with Store(current(context).consumers.store) as store, store.writing() as transaction:
        stop = stops.latest(transaction, name)
        done = stops.resume(transaction, name, who(), comment, datetime.now(UTC))
    if not done:
        before = f": {stop.by} let it go on at {stop.resumed:%Y-%m-%d %H:%M} UTC" if stop and stop.resumed else ""
        fail(f"{name} is not stopped{before}", 1)
    say({"subscription": name, "done": "resumed"}, as_json=as_json, text=f"{name} goes on")


def _stopped(context: typer.Context) -> dict[str, str]:
    """Return since when and why subscriptions are stopped, by name."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        found = stops.stopped(transaction)
    return {each.subscription: f"{each.at:%Y-%m-%d %H:%M} UTC: {each.reason}" for each in found}


@subscriptions_app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The name of a subscription.", autocompletion=subscription_names)],
    *,
    file: FileOption = None,
    as_json: Json = False,
) -> None:
    """Show one subscription as it holds, with what defaults and an action add, and the variables that it reads."""
    from ..inspection.read_variables import read_variables  # noqa: PLC0415 - `list` needs no expressions

    known = loaded(context, file).by_name
    if name not in known:
        fail(f"there is no subscription {name}{did_you_mean(name, known)}", 2)
    found = known[name]
    read = read_variables(found, current(context))
    # An action has a command of its own; what may hold a secret is shown by none.
    options = {each for each, about in type(found.verb).model_fields.items() if about.repr} - {"definition"}
    facts = _without_nulls({**found.meaning, "verb": found.verb.model_dump(mode="json", include=options)})
    facts |= {"explicit": list(read.explicit), "implied": list(read.implied), "file": found.file, "line": found.line}
    if as_json:
        say(facts, as_json=True)
    else:
        fields((each, value if isinstance(value, str) else encoded(value)) for each, value in facts.items())


def _without_nulls(found: Mapping[str, object]) -> dict[str, object]:
    """Return *found* without what is not set, at any depth."""
    kept = {name: _without_nulls(each) if isinstance(each, Mapping) else each for name, each in found.items()}
    return {name: each for name, each in kept.items() if each not in (None, [], {})}


def _removed_names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the subscriptions that are no longer in the files and begin with *incomplete*, for completion."""
    with suppress(Exception):
        settings = loading.load(context.find_root().params.get("file")).settings.consumers
        with Store(settings.store, upgrade=False) as store, store.reading() as transaction:
            had = bindings.names(transaction)
        return sorted(each for each in had - {*subscription_names(context, "")} if each.startswith(incomplete))
    return []


@subscriptions_app.command("remove")
def remove(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="A subscription that is no longer in the files.", autocompletion=_removed_names)
    ],
    *,
    file: FileOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Remove it even if messages wait: they become dead letters.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how many messages wait for a subscription that is no longer in the files, and delete its queue."""
    found = loaded(context, file)
    if name in found.by_name:
        fail(f"{name} is still in {found.by_name[name].file}:{found.by_name[name].line}: delete it there first", 2)
    patterns, outcomes = _remembered(context, name)
    with open_session(context, "clusterbus-subscriptions") as session:
        held = session.queue_facts(queue_of(name))
        if held is None:
            fail(f"no queue of a subscription {name} exists{did_you_mean(name, _bound(context) - {name})}")
        if held.consumers:
            fail(f"{name} has {counted(held.consumers, 'consumer')}: reload (SIGHUP) or stop what serves it")
        text = f"{name}: {counted(held.messages, 'message')} waiting; recorded: {outcomes or 'nothing'}"
        say({"subscription": name, "waiting": held.messages, "recorded": outcomes}, as_json=as_json, text=text)
        if held.messages and not force:
            fail(
                f"{name} has {counted(held.messages, 'message')}: --force makes them dead letters and deletes the queue"
            )
        session.declare(_unbound(name, patterns))
    moved = park(connect(context, "clusterbus-subscriptions", impatient=True), name)
    with open_session(context, "clusterbus-subscriptions") as session:
        if (left := session.queue_facts(queue_of(name))) and left.messages:
            fail(f"{name} still has {counted(left.messages, 'message')}: they did not become dead letters; try again")
        with Store(current(context).consumers.store) as store, store.writing() as transaction:
            receiver_health.keep_only(transaction, {name: ()})
        session.delete(queue_of(name))
    text = f"removed {name}" + (f"; new dead letters: {moved}" if moved else "")
    say({"subscription": name, "done": "removed", "letters": moved}, as_json=as_json, text=text)


def park(broker: Broker, name: str) -> int:
    """Make dead letters of the messages that wait for the removed subscription *name*; return how many.

    Runs *broker* until no more messages arrive.  Raises Refused if the dead letters do not accept a message.
    """
    moved: list[str] = []
    cancel = [broker.later(_QUIET * 2, broker.stop)]

    def again() -> None:
        cancel.pop()()
        cancel.append(broker.later(_QUIET, broker.stop))

    def settled(arrival: Arrival, settlement: Settlement) -> None:
        if settlement is not Settlement.CONFIRMED:
            raise Refused(f"the dead letters did not accept a message of {name}: {settlement.value}")
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
    """Return a topology that removes all bindings of the queue of *name*."""
    queue = queue_of(name)
    returns = (each for each in subscription(name, []).bindings if each.exchange == RETURN)
    return Topology(stale=(*(event_binding(queue, each) for each in sorted(patterns)), *returns))


def _bound(context: typer.Context) -> set[str]:
    """Return the names of all subscriptions that have ever had a queue."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        return bindings.names(transaction)


def _remembered(context: typer.Context, name: str) -> tuple[set[str], str]:
    """Return all patterns that *name* was ever bound with, and a summary of its recorded deliveries."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        counts = queries.count(transaction, subscription=name)
        return bindings.of(transaction, name), ", ".join(f"{each.attempts} {each.outcome}" for each in counts)


def _facts(context: typer.Context, names: list[str]) -> tuple[dict[str, Facts | None], str]:
    """Return what the broker knows about the queues of *names*; and why nothing of some or all."""
    wanted = current(context).broker
    try:
        with Session(wanted.urls(), name="clusterbus-subscriptions", limit=min(_PATIENCE, wanted.patience)) as session:
            known, lost = session.known_facts(map(queue_of, names))
            return {name: known.get(queue_of(name)) for name in names}, lost
    except BrokerError as error:
        return {}, f"the number of waiting messages is unknown: {error}"


def _numbers(facts: Facts | None) -> tuple[int | None, int | None]:
    return (facts.messages, facts.consumers) if facts else (None, None)
