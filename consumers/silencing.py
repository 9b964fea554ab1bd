"""The commands on silences: `clusterbus silences add | list | expire`.

A silence keeps subscriptions that tell people from telling them; each delivery is recorded all the same.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from router import durations
from router.command import Json, current, fail, say
from router.records import new_id

from .errors import FilterError
from .filters import Filter
from .people import who
from .store import Store
from .store import silences as table
from .store.silences import Silence

silences_app = typer.Typer(help="Keep people from being told for a time; nothing is lost.", no_args_is_help=True)


def _until(text: str, now: datetime) -> datetime:
    """Return the moment that *text* says, a duration from *now* or a time; raises ValueError."""
    if text[:1].isdigit() and "T" not in text and "-" not in text:
        return now + durations.parse(text)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.astimezone()


@silences_app.command()
def add(
    context: typer.Context,
    *,
    where: Annotated[str, typer.Option(help='Which events, in CEL, as data.fsName == "gpfs1".')],
    until: Annotated[str, typer.Option(help="How long, as 2h, or until when, as 2026-11-20T18:00.")],
    comment: Annotated[str, typer.Option(help="Why: whoever asks later reads this.")],
    subscription: Annotated[str, typer.Option(help="Only this subscription; else all that tell people.")] = "",
    author: Annotated[str | None, typer.Option(help="Who wants it; by default who you are.")] = None,
    as_json: Json = False,
) -> None:
    """Begin a silence, from now on."""
    now = datetime.now(UTC)
    try:
        if Filter(where).facts:
            fail("--where: a silence knows of no facts: it is asked for events alone", 2)
        end = _until(until, now)
    except FilterError as error:
        fail(f"--where: {error}", 2)
    except ValueError as error:
        fail(f"--until: {error}", 2)
    if end <= now:
        fail(f"--until {until}: is over already", 2)
    if not comment.strip():
        fail("--comment: is empty; say why", 2)
    silence = Silence(new_id(), subscription, where, author or who(), comment, now, end)
    with Store(current(context).consumers.store) as store, store.writing() as transaction:
        table.add(transaction, silence)
    say(asdict(silence), as_json=as_json, text=f"silence {silence.id} until {end.astimezone():%Y-%m-%d %H:%M}")


@silences_app.command("list")
def list_silences(
    context: typer.Context,
    *,
    over: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: Json = False,
) -> None:
    """Show silences, oldest first."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        found = table.find(transaction, at=None if over else datetime.now(UTC))
    if as_json:
        for each in found:
            say(asdict(each), as_json=True)
        return
    rows = Table(box=None, header_style="bold")
    for column in ("id", "until", "subscription", "where", "author", "comment"):
        rows.add_column(column, overflow="fold")
    for each in found:
        until = f"{each.until.astimezone():%Y-%m-%d %H:%M}"
        rows.add_row(each.id, until, each.subscription or "(all)", each.where, each.author, each.comment)
    Console().print(rows if found else "no silences")


@silences_app.command()
def expire(
    context: typer.Context,
    silence_id: Annotated[str, typer.Argument(help="The silence's id.")],
    as_json: Json = False,  # noqa: FBT002 - typer makes an option of it
) -> None:
    """End a silence now; it stays in the list of all."""
    with Store(current(context).consumers.store) as store, store.writing() as transaction:
        is_ended = table.expire(transaction, silence_id, datetime.now(UTC))
    if not is_ended:
        fail(f"no silence {silence_id} holds: `clusterbus silences list` shows those that do")
    say({"id": silence_id, "done": "expired"}, as_json=as_json, text=f"expired {silence_id}")
