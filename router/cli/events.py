"""The commands on events: `clusterbus emit` and `clusterbus tail`."""

import json
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from ..broker.interface import Arrival, Settlement, history_offset
from ..broker.topology import HISTORY
from ..errors import InvalidEvent, InvalidTopic, Refused, UnknownEvent, UnknownVariable, Unreachable
from ..model import event_words, events, records, topics
from ..pipeline.mapping import event_of
from ..programs.running import run_until_stopped
from ..services import producer
from ..settings import site_catalogue
from ..settings.models import Settings
from .app import Json, connect, current, open_session, past
from .catalogue import event_names
from .output import SEVERITIES, Styled, fail, note, say, show


def emit(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    event: Annotated[
        str,
        typer.Argument(
            help="The event type, such as softQuotaExceeded, gpfs.softQuotaExceeded or gpfs softQuotaExceeded.",
            autocompletion=event_names,
        ),
    ],
    variables: Annotated[
        list[str] | None, typer.Argument(help="Variables as NAME=VALUE, such as fsName=gpfs1.")
    ] = None,
    *,
    node: Annotated[
        str, typer.Option(help="The node where it happened; by default a service's own user, else `operator`.")
    ] = "",
    cluster: Annotated[str, typer.Option(help="The cluster where the event happened.")] = "local",
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Accept event types, as SOURCE.EVENT, and variables of no catalogue.")
    ] = False,
    id_: Annotated[str, typer.Option("--id", help="Its id, to repeat a call that failed: then it is one event.")] = "",
    as_json: Json = False,
) -> None:
    """Publish an event by hand, as a node would, or as a service that publishes a source of its own.

    Your broker user must be in `router.trusted_users`, or that of a service with `publishes`.  Exit code 0 says that
    the broker has the event on disk.  With 3 it was not reached: nothing is kept here, so run the command again.
    """
    settings = current(context)
    catalogues = site_catalogue.catalogues(settings)
    try:
        written = event_words.read([event, *(variables or [])], catalogues, unknown_too=unknown)
    except (UnknownEvent, UnknownVariable) as error:
        fail(f"{error}{'' if unknown else ' (to publish what no catalogue has, add --unknown)'}", 2)
    kind, given, node = written.event_type, written.variables, node or _node(settings)
    record = producer.record(kind.source, kind.name, given, cluster=cluster, node=node, id_=id_)
    key = _key(record)
    _publish(context, record)
    say({"id": record.id, "key": key}, as_json=as_json, text=f"{record.id} {key}")
    if malformed := event_of(record, written.event_type, catalogues.of(record.source)).malformed:
        note(f"these values do not fit their types and stay text: {malformed}")


def _publish(context: typer.Context, record: records.Record) -> None:
    try:
        with open_session(context, "clusterbus-emit") as session:
            (settlement,) = session.publish([producer.message(record)])
    except Unreachable as error:
        raise Unreachable(f"{error}; to repeat this very event, add --id {record.id}") from error
    if settlement is not Settlement.CONFIRMED:
        raise Refused(f"the broker did not accept the record: {settlement.value}")


def _node(settings: Settings) -> str:
    """Return what stands for the node: the broker user of these settings if it is a service's."""
    user = unquote(urlsplit(settings.broker.url[0]).username or "")
    return user if "-svc-" in user else "operator"


def _key(record: records.Record) -> str:
    """Return the routing key of *record*; ends the program if neither broker nor router would accept it."""
    words = {"source": record.source, "--cluster": record.cluster, "event": record.event, "--node": record.node}
    text = ".".join(words.values())
    try:
        key = topics.IngressKey.parse(text)
    except InvalidTopic:
        name, word = max(words.items(), key=lambda each: len(each[1]))
        fail(f"{name} {word[:40]}... has {len(word)} characters; at most 100 are allowed", 2)
    if len(text) > topics.LONGEST:
        fail(f"{', '.join(words)} have {len(text)} characters together; at most {topics.LONGEST} are allowed", 2)
    return str(key)


def tail(
    context: typer.Context,
    pattern: Annotated[str, typer.Argument(help="A topic pattern, such as 'gpfs.*.disk.#'; by default all.")] = "#",
    since: Annotated[
        str | None,
        typer.Option(
            help="Begin with events that arrived since this time: 1h ago, 18:00, monday 07:00; by default, new ones."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Wait for new events; otherwise stop after the newest.")] = True,
    as_json: Json = False,
) -> None:
    """Show events from history, and new events as they arrive."""
    topics.check_pattern(pattern)
    now = datetime.now(UTC)
    back = now - past("--since", since, now) if since else None
    if back is None and not follow:
        fail("--no-follow needs --since", 2)
    from ..broker.stream_end import StreamEnd  # noqa: PLC0415 - only commands that use the broker import pika

    broker = connect(context, "clusterbus-tail", impatient=True)
    end = None if follow else StreamEnd(broker, HISTORY, broker.stop, limit=current(context).broker.patience)

    def show(arrival: Arrival) -> None:
        if end:
            end.again()
        if topics.matches(pattern, arrival.key):
            _show(arrival, as_json=as_json)

    # By the time of arrival in the stream, which the broker knows: an event's own time may be hours older, if its node
    # was without a connection.  RabbitMQ begins with the chunk of that moment.
    offset = "next" if back is None else history_offset(back)
    broker.consume(HISTORY, show, prefetch=1000, offset=offset)
    run_until_stopped(broker)


def _show(arrival: Arrival, *, as_json: bool) -> None:
    try:
        event = events.Event.from_json(arrival.body)
    except InvalidEvent as error:
        # Perhaps of a newer release; those that follow can be read.
        facts = {"id": arrival.id, "topic": arrival.key, "unreadable": str(error)}
        text = f"{arrival.key} {arrival.id} cannot be read by this release: {str(error).splitlines()[0][:300]}"
        say(facts, as_json=True) if as_json else show(Styled(text, "yellow"))
        return
    if as_json:
        say(json.loads(event.to_json()), as_json=True)
        return
    facts_of_event = " ".join(f"{name}={value}" for name, value in event.data.items() if value is not None)
    line = f"{event.time[:19]}  {event.severity:8} {event.topic} {facts_of_event}"
    show(Styled(line, SEVERITIES[event.severity]))
