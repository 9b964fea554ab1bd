"""The commands on dead letters: `clusterbus dead list | show | replay | drop`."""

import getpass
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from router import durations
from router.broker import Settlement
from router.command import Json, connect, current, fail, say

from . import letters
from .store import Store
from .store.letters import Letter

dead_app = typer.Typer(
    help="Work the dead letters: what was given up, rejected, or brought to nobody.", no_args_is_help=True
)

Ids = Annotated[list[str] | None, typer.Argument(help="Letters by id; or choose them by the options.")]
Subscription = Annotated[str | None, typer.Option(help="Only this subscription's.")]
Event = Annotated[str | None, typer.Option(help="Only of this event type, or of this event id.")]
Older = Annotated[str | None, typer.Option(help="Only kept longer ago than this, such as 1d.")]
Reason = Annotated[str | None, typer.Option(help="Only with this text in the reason.")]
Kind = Annotated[str | None, typer.Option(help="Only delivery, record (rejected) or unrouted.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, do nothing.")]
All = Annotated[bool, typer.Option("--all", help="All that the other options leave, not only the latest 100.")]

_LATEST, _ALL = 100, 1_000_000
_ULID = 26


def _filters(
    subscription: str | None, event: str | None, older: str | None, reason: str | None, kind: str | None
) -> dict[str, Any]:
    if kind not in (None, "delivery", "record", "unrouted"):
        fail(f"--kind {kind!r}: there are delivery, record and unrouted", 2)
    is_id = event is not None and len(event) == _ULID and event.isalnum()
    return {
        "subscription": subscription,
        "event_id" if is_id else "event": event,
        "before": datetime.now(UTC) - durations.parse(older) if older else None,
        "reason": reason,
        "kind": kind,
    }


@dead_app.command("list")
def list_letters(  # noqa: PLR0913 - each is a filter
    context: typer.Context,
    *,
    subscription: Subscription = None,
    event: Event = None,
    older: Older = None,
    reason: Reason = None,
    kind: Kind = None,
    state: Annotated[str, typer.Option(help="kept, replayed or dropped.")] = "kept",
    all_of_them: All = False,
    as_json: Json = False,
) -> None:
    """Show letters, newest first."""
    found = _open_and(
        context,
        lambda store: letters.find(
            store,
            state=state,
            limit=_ALL if all_of_them else _LATEST,
            **_filters(subscription, event, older, reason, kind),
        ),
    )
    if as_json:
        for each in found:
            say(_plain(each), as_json=True)
        return
    table = Table(box=None, header_style="bold")
    for column in ("id", "kept", "kind", "event", "subscription", "attempt", "reason"):
        table.add_column(column, overflow="fold")
    for each in found:
        kept = f"{each.kept_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(
            each.id, kept, each.kind, each.event, each.subscription, str(each.attempt), each.reason.splitlines()[0][:80]
        )
    Console().print(table if found else "no letters")


@dead_app.command()
def show(
    context: typer.Context, letter_id: Annotated[str, typer.Argument(help="The letter's id.")], as_json: Json = False
) -> None:
    """Show one letter whole, with the attempts that led to it."""
    letter, attempts = _open_and(context, lambda store: letters.show(store, letter_id))
    if as_json:
        say(_plain(letter) | {"attempts": [asdict(each) for each in attempts]}, as_json=True)
        return
    for name, value in _plain(letter).items():
        typer.echo(f"{name:14}{json.dumps(value) if isinstance(value, dict) else value}")
    for row in attempts:
        typer.echo(
            f"attempt {row.attempt}     {row.started:%Y-%m-%d %H:%M:%S} {row.outcome or 'open'}: {row.reason or ''}"
        )
        for name, value in row.result.items():
            typer.echo(f"              {name}: {value}")


@dead_app.command()
def replay(  # noqa: PLR0913 - each is a filter
    context: typer.Context,
    ids: Ids = None,
    *,
    subscription: Subscription = None,
    event: Event = None,
    older: Older = None,
    reason: Reason = None,
    kind: Kind = None,
    all_of_them: All = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Bring letters back to where they were going; a delivery goes to its own subscription only."""
    chosen = _chosen(context, ids, _filters(subscription, event, older, reason, kind), all_of_them=all_of_them)
    store = Store(current(context).consumers.store)
    try:
        if dry_run:
            done = letters.plan(store, chosen, by=_who())
        else:
            broker = connect(context, "clusterbus-dead", impatient=True)
            done = letters.replay(store, broker, chosen, by=_who(), clock=lambda: datetime.now(UTC))
    finally:
        store.close()
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
def drop(  # noqa: PLR0913 - each is a filter
    context: typer.Context,
    ids: Ids = None,
    *,
    subscription: Subscription = None,
    event: Event = None,
    older: Older = None,
    reason: Reason = None,
    kind: Kind = None,
    all_of_them: All = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give letters up for good; they stay in the store, marked with who and when."""
    chosen = _chosen(context, ids, _filters(subscription, event, older, reason, kind), all_of_them=all_of_them)
    if not dry_run:
        _open_and(context, lambda store: letters.drop(store, chosen, by=_who(), clock=lambda: datetime.now(UTC)))
    word = "would drop" if dry_run else "dropped"
    for each in chosen:
        say({"id": each, "done": word}, as_json=as_json, text=f"{word} {each}")


def _chosen(context: typer.Context, ids: list[str] | None, filters: dict[str, Any], *, all_of_them: bool) -> list[str]:
    some = any(value is not None for value in filters.values())
    if bool(ids) == (some or all_of_them):
        fail("name letters by id, or choose them by --subscription, --event, --older, --reason, --kind or --all", 2)
    if ids:
        return ids
    found = _open_and(context, lambda store: letters.find(store, limit=_ALL if all_of_them else _LATEST, **filters))
    if not found:
        fail("no letters fit")
    return [each.id for each in found]


def _open_and(context: typer.Context, work: Any) -> Any:  # noqa: ANN401 - what work returns
    store = Store(current(context).consumers.store)
    try:
        return work(store)
    finally:
        store.close()


def _plain(letter: Letter) -> dict[str, Any]:
    return asdict(letter) | {"body": letter.body.decode("utf-8", "backslashreplace"), "headers": dict(letter.headers)}


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
