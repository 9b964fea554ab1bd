"""The commands `clusterbus services missed` and `replay`: what the queue of a service could not hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ...broker.client import Rabbit
from ...broker.interface import Arrival
from ...broker.service_topology import service_queue
from ...broker.session import Session
from ...errors import Refused, did_you_mean
from ...model import durations, ids
from ...services.backlog import Backlog
from ...services.replay import (
    Replay,
    begin_of,
    facts,
    history,
    missed_events,
    of_ids,
    of_patterns,
)
from ...services.service_files import Definition
from ...terminal_text import counted
from ..app import Json, connect, current, open_session, past
from ..output import fail, note, rows, say
from .lost_events import Lost, forget, lost_events
from .site import Name, Site, site

_NOTHING = "nothing was published; --apply publishes it"


def missed(
    context: typer.Context,
    name: Name,
    *,
    most: Annotated[int, typer.Option(min=1, max=65_535, help="Show at most so many.")] = 1000,
    as_json: Json = False,
) -> None:
    """Show the events that a service missed because its queue was full, the oldest first."""
    here = site(context)
    with open_session(context, "clusterbus-services") as session:
        held = _backlog(session, here, name)
        lost = lost_events(context, session, name) if held.has_lost else None
    found = missed_events(_broker(context), name, min(most, held.missed)) if held.missed else []
    rows(
        found,
        {
            "id": lambda each: each.id,
            "time": lambda each: facts(each)["time"],
            "topic": lambda each: each.key,
        },
        as_json=as_json,
        facts=lambda each: {"id": each.id, "topic": each.key, **facts(each)},
        empty=f"nothing that {name} missed is kept" if lost else f"{name} missed nothing",
    )
    if held.missed > len(found):
        note(f"{held.missed} in all; --most shows more")
    if held.missed:
        note(f"clusterbus services replay {name} --missed --apply gives them to {name} again")
    for each in lost.lines() if lost else ():
        note(each)


def replay(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    name: Name,
    *,
    of_missed: Annotated[bool, typer.Option("--missed", help="What its queue could not hold.")] = False,
    wanted: Annotated[list[str] | None, typer.Option("--ids", help="Events by their ids; may be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="All its events that arrived since: 2h ago, monday 07:00.")] = None,
    rate: Annotated[str | None, typer.Option(help="The highest rate, such as 100/s or 60/m.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this, only show what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Give past events to one service again, under their ids and marked with the header `replay`; to nobody else."""
    if sum([of_missed, bool(wanted), since is not None]) != 1:
        fail("say what to replay: --missed, --ids or --since", 2)
    here = site(context)
    with open_session(context, "clusterbus-services") as session:
        held = _backlog(session, here, name)
    if name not in here.definitions:
        fail(f"{name} is in no file: it gets no events", 2)
    gap = _pace(rate) if rate else timedelta()
    if of_missed:
        _missed(context, here, name, held, gap, apply=apply, as_json=as_json)
    else:
        _of_history(context, here, name, wanted or [], since, gap, apply=apply, as_json=as_json)


def _missed(
    context: typer.Context, here: Site, name: str, held: Backlog, gap: timedelta, *, apply: bool, as_json: bool
) -> None:
    if not apply or not held.missed:
        _tell(name, held.missed, "missed", as_json=as_json)
        if held.missed:
            note(_NOTHING)
        return
    size = here.definitions[name].service.max_bytes
    done = Replay(_broker(context), name, size, mark=ids.new_id(), gap=gap).missed(held.missed)
    _tell(name, done.count, "replayed", as_json=as_json)
    if done.is_full:
        _full(name, held.missed - done.count)


def _of_history(  # noqa: PLR0913 - what `replay` was told
    context: typer.Context,
    here: Site,
    name: str,
    wanted: list[str],
    since: str | None,
    gap: timedelta,
    *,
    apply: bool,
    as_json: bool,
) -> None:
    now = datetime.now(UTC)
    begin = past("--since", since, now) if since else now - _back(wanted, now)
    lost = _lost(context, name) if since else None
    sought, mark, count, is_whole = set(wanted), ids.new_id(), 0, False
    size = here.definitions[name].service.max_bytes
    for found in _portions(context, here.definitions[name], sought, begin):
        is_whole = is_whole or (lost is not None and any(each.id == lost.newest for each in found))
        if not apply:
            count += len(found)
            continue
        done = Replay(_broker(context), name, size, mark=mark, gap=gap).events(found)
        count += done.count
        if done.is_full:
            _tell(name, count, "replayed", as_json=as_json)
            _full(name, None)
    _tell(name, count, "replayed" if apply else "found", as_json=as_json)
    if sought:
        fail(f"the history has no event of {name} with these ids: {' '.join(sorted(sought))}")
    if lost:
        _settle(context, lost, begin, is_whole=is_whole, apply=apply)
    if not apply:
        note(_NOTHING)


def _lost(context: typer.Context, name: str) -> Lost | None:
    with open_session(context, "clusterbus-services") as session:
        return lost_events(context, session, name)


def _settle(context: typer.Context, lost: Lost, begin: datetime, *, is_whole: bool, apply: bool) -> None:
    """Say whether a replay since *begin* has all that was *lost*; forget it if so, and the replay *is_whole*."""
    if begin > (lost.since or lost.moment):
        note(f"{lost.service} missed events before that, too: {lost.command}")
    elif not is_whole:
        fail(f"the history no longer has event {lost.newest}, which {lost.service} missed: nothing else has it")
    elif apply:
        with open_session(context, "clusterbus-services") as session:
            forget(session, lost)


def _portions(
    context: typer.Context, known: Definition, sought: set[str], begin: datetime
) -> Iterator[Sequence[Arrival]]:
    """Yield the events of *known* in the history since *begin*, some at a time; only those *sought*, if there are any.

    What was found is taken out of *sought*.
    """
    is_of_service, is_all, after = of_patterns(known.patterns), not sought, -1
    is_wanted = is_of_service if is_all else of_ids(frozenset(sought))
    while is_all or sought:
        back, patience = datetime.now(UTC) - begin, current(context).broker.patience
        portion = history(_broker(context), back, is_wanted, after=after, patience=patience)
        # A stream has an event twice where the router was killed at the wrong moment.
        found = {each.id: each for each in portion.events if is_of_service(each)}
        sought.difference_update(found)
        if found:
            yield list(found.values())
        if portion.is_all:
            return
        after = portion.last


def _pace(rate: str) -> timedelta:
    try:
        return durations.pace(rate)
    except ValueError as error:
        fail(f"--rate: {error}", 2)


def _back(wanted: list[str], now: datetime) -> timedelta:
    try:
        return begin_of(wanted, now)
    except ValueError as error:
        fail(f"--ids: {error}", 2)


def _full(name: str, left: int | None) -> None:
    rest = "the rest" if left is None else counted(left, "event")
    raise Refused(f"{name} does not read, and its queue is half full: {rest} must wait; run this again when it reads")


def _tell(name: str, count: int, what: str, *, as_json: bool) -> None:
    say({"service": name, what: count}, as_json=as_json, text=f"{name}: {counted(count, 'event')} {what}")


def _backlog(session: Session, here: Site, name: str) -> Backlog:
    held = here.registrar.backlog(session, name)
    if held is None:
        if name not in here.definitions:
            fail(f"there is no service {name}{did_you_mean(name, here.definitions)}", 2)
        fail(f"there is no queue {service_queue(name)}: run clusterbus services apply", 2)
    return held


def _broker(context: typer.Context) -> Rabbit:
    return connect(context, "clusterbus-services", impatient=True)
