"""The commands on dead letters: `clusterbus dead list | show | replay | edit | drop`."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from router.broker import Settlement
from router.catalogue import Catalogues
from router.command import Json, connect, current, fail, say

from . import edits, letters, replays
from .fingerprints import fingerprint
from .people import who
from .selection import ALL, LATEST, LetterSelection, selecting
from .store import Store
from .store.letters import Letter

dead_app = typer.Typer(
    help="Work the dead letters: what was given up, rejected, or brought to nobody.", no_args_is_help=True
)

Ids = Annotated[list[str] | None, typer.Argument(help="Letters by id; or choose them by the options.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, do nothing.")]
All = Annotated[bool, typer.Option("--all", help="All that the other options leave, not only the latest 100.")]
Rate = Annotated[str | None, typer.Option(help="Not faster than this, such as 10/s, 60/m or 5/h.")]

_REASON = 80

Answer = TypeVar("Answer")


@dead_app.command("list")
@selecting(LetterSelection)
def list_letters(
    context: typer.Context,
    selection: LetterSelection,
    *,
    state: Annotated[str, typer.Option(help="kept, replayed or dropped.")] = "kept",
    group: Annotated[bool, typer.Option("--group", help="Show each failure once, with how many there are.")] = False,
    all_of_them: All = False,
    as_json: Json = False,
) -> None:
    """Show letters, newest first."""
    limit = ALL if all_of_them or group else LATEST
    found = _open_and(context, lambda store: letters.find(store, state=state, limit=limit, **selection.filters()))
    if group:
        _show_groups(groups(found), as_json=as_json)
        return
    if as_json:
        for each in found:
            say(_plain(each), as_json=True)
        return
    table = Table(box=None, header_style="bold")
    for column in ("id", "kept", "kind", "event", "subscription", "attempt", "failure", "reason"):
        table.add_column(column, overflow="fold")
    for each in found:
        kept = f"{each.kept_at:%Y-%m-%d %H:%M:%S}"
        facts = (each.id, kept, each.kind, each.event, each.subscription, str(each.attempt))
        table.add_row(*facts, fingerprint(each.reason), _first_line(each.reason))
    Console().print(table if found else "no letters")


@dataclass(frozen=True, slots=True)
class Group:
    """The letters of one failure: how many, the *first* and the *last*, of what, and one of them as the *example*."""

    failure: str
    count: int
    first: datetime
    last: datetime
    subscriptions: Sequence[str]
    events: Sequence[str]
    example: str
    reason: str


def groups(found: Iterable[Letter]) -> list[Group]:
    """Return *found*, which is newest first, by failure: the most frequent first."""
    by_failure: dict[str, list[Letter]] = {}
    for each in found:
        by_failure.setdefault(fingerprint(each.reason), []).append(each)
    grouped = [
        Group(
            failure=failure,
            count=len(those),
            first=those[-1].kept_at,
            last=those[0].kept_at,
            subscriptions=sorted({each.subscription for each in those if each.subscription}),
            events=sorted({each.event for each in those if each.event}),
            example=those[0].id,
            reason=those[0].reason,
        )
        for failure, those in by_failure.items()
    ]
    return sorted(grouped, key=lambda each: (-each.count, each.failure))


def _show_groups(found: Sequence[Group], *, as_json: bool) -> None:
    if as_json:
        for each in found:
            say(asdict(each), as_json=True)
        return
    table = Table(box=None, header_style="bold")
    for column in ("failure", "count", "first", "last", "subscriptions", "example", "reason"):
        table.add_column(column, overflow="fold")
    for each in found:
        first, last = (f"{moment:%Y-%m-%d %H:%M:%S}" for moment in (each.first, each.last))
        facts = (each.failure, str(each.count), first, last, ", ".join(each.subscriptions), each.example)
        table.add_row(*facts, _first_line(each.reason))
    Console().print(table if found else "no letters")


@dead_app.command()
def show(
    context: typer.Context, letter_id: Annotated[str, typer.Argument(help="The letter's id.")], as_json: Json = False
) -> None:
    """Show one letter whole, with the attempts that led to it, and what was changed of it."""
    letter, attempts = _open_and(context, lambda store: letters.show(store, letter_id))
    changed = _open_and(context, lambda store: replays.amendments(store, letter_id))
    edited = [{"by": each.by, "at": each.at, "changes": list(each.changes)} for each in changed]
    if as_json:
        say(_plain(letter) | {"attempts": [asdict(each) for each in attempts], "edits": edited}, as_json=True)
        return
    for name, value in _plain(letter).items():
        typer.echo(f"{name:14}{json.dumps(value) if isinstance(value, dict) else value}")
    for row in attempts:
        typer.echo(
            f"attempt {row.attempt}     {row.started:%Y-%m-%d %H:%M:%S} {row.outcome or 'open'}: {row.reason or ''}"
        )
        for name, value in row.result.items():
            typer.echo(f"              {name}: {value}")
    for each in changed:
        typer.echo(f"edited        {each.at:%Y-%m-%d %H:%M:%S} by {each.by}: {edits.told(each.changes)}")


@dead_app.command()
@selecting(LetterSelection)
def replay(
    context: typer.Context,
    selection: LetterSelection,
    ids: Ids = None,
    *,
    rate: Rate = None,
    all_of_them: All = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Bring letters back to where they were going; a delivery goes to its own subscription only."""
    gap = replays.pace(rate) if rate else timedelta()
    chosen = _chosen(context, ids, selection, all_of_them=all_of_them)
    _replay(context, chosen, gap, dry_run=dry_run, as_json=as_json)


def _replay(context: typer.Context, chosen: Sequence[str], gap: timedelta, *, dry_run: bool, as_json: bool) -> None:
    with Store(current(context).consumers.store) as store:
        if dry_run:
            done = replays.plan(store, chosen, by=who())
        else:
            broker = connect(context, "clusterbus-dead", impatient=True)
            done = replays.replay(store, broker, chosen, by=who(), clock=_now, gap=gap)
    failed = 0
    for each in done:
        good = dry_run or each.settlement is Settlement.CONFIRMED
        failed += not good
        word = "would replay" if dry_run else "replayed" if good else "not replayed"
        said = each.settlement.value if each.settlement else None
        facts = {
            "id": each.letter.id,
            "to": each.message.exchange,
            "topic": each.message.key,
            "done": word,
            "broker": said,
        }
        why = "" if good else f": {said or 'the broker did not answer in time'}"
        say(facts, as_json=as_json, text=f"{word} {each.letter.id} {each.letter.event} {each.letter.subscription}{why}")
    if failed:
        raise typer.Exit(1)


@dead_app.command()
def edit(
    context: typer.Context,
    letter_id: Annotated[str, typer.Argument(help="The letter's id.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="data.NAME=VALUE, as often as needed; null: does not apply.")
    ] = None,
    *,
    editor: Annotated[bool, typer.Option("--editor", help="Change the event's data in $VISUAL or $EDITOR.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Change the data of a delivery's event and replay it; what was changed, by whom and when, is kept."""
    if bool(settings) == editor:
        fail("say what is to be changed: either --set data.NAME=VALUE, or --editor", 2)
    with Store(current(context).consumers.store) as store:
        (letter,) = letters.all_kept(store, [letter_id])
        event = replays.current(store, letter)
        data = edits.edited(event.data) if editor else edits.with_settings(event, settings or [], Catalogues.shipped())
        if dry_run:
            _, changes = replays.amended(event, data)
        else:
            changes = replays.amend(store, letter, data, by=who(), clock=_now)
    facts = {"id": letter_id, "done": "would edit" if dry_run else "edited", "changes": changes}
    say(facts, as_json=as_json, text=f"{facts['done']} {letter_id} {edits.told(changes) or 'in nothing'}")
    _replay(context, [letter_id], timedelta(), dry_run=dry_run, as_json=as_json)


@dead_app.command()
@selecting(LetterSelection)
def drop(
    context: typer.Context,
    selection: LetterSelection,
    ids: Ids = None,
    *,
    all_of_them: All = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give letters up for good; they stay in the store, marked with who and when."""
    chosen = _chosen(context, ids, selection, all_of_them=all_of_them)
    if not dry_run:
        _open_and(context, lambda store: letters.drop(store, chosen, by=who(), clock=_now))
    word = "would drop" if dry_run else "dropped"
    for each in chosen:
        say({"id": each, "done": word}, as_json=as_json, text=f"{word} {each}")


def _chosen(
    context: typer.Context, ids: list[str] | None, selection: LetterSelection, *, all_of_them: bool
) -> list[str]:
    if bool(ids) == (not selection.is_empty or all_of_them):
        options = ", ".join(f"--{name}" for name in selection.__dataclass_fields__ if name != "plain")
        fail(f"name letters by id, or choose them by {options} or --all", 2)
    if ids:
        return ids
    limit = ALL if all_of_them else LATEST
    found = _open_and(context, lambda store: letters.find(store, limit=limit, **selection.filters()))
    if not found:
        fail("no letters fit")
    return [each.id for each in found]


def _open_and(context: typer.Context, work: Callable[[Store], Answer]) -> Answer:
    with Store(current(context).consumers.store) as store:
        return work(store)


def _plain(letter: Letter) -> dict[str, Any]:
    body = letter.body.decode("utf-8", "backslashreplace")
    return asdict(letter) | {"failure": fingerprint(letter.reason), "body": body, "headers": dict(letter.headers)}


def _first_line(reason: str) -> str:
    return (reason.splitlines() or [""])[0][:_REASON]


def _now() -> datetime:
    return datetime.now(UTC)
