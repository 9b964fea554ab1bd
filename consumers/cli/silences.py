"""The commands on silences: `clusterbus silences add | list | expire`.

A silence mutes the subscriptions that notify people.  Each muted delivery is recorded.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from router.cli.app import Json, author_of, current, moment
from router.cli.output import fail, note, rows, say
from router.errors import did_you_mean
from router.model.catalogue import Catalogues
from router.model.ids import new_id
from router.model.moments import Reading, shown
from router.settings.local_zone import local_zone
from router.settings.models import Settings
from router.settings.site_catalogue import catalogues

from ..errors import SubscriptionsError
from ..store import silences as table
from ..store.database import Store
from ..store.silences import Silence
from ..subscriptions.models import Subscription
from .options import FileOption, subscription_names

silences_app = typer.Typer(help="Mute notifications for a while, with author and comment.", no_args_is_help=True)

_DAY = timedelta(days=1)


@silences_app.command()
def add(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    *,
    where: Annotated[str, typer.Option(help='Which events, in CEL, such as data.fsName == "gpfs1".')],
    until: Annotated[
        str, typer.Option(help="Until when, or how long: 18:00, tomorrow 06:00, monday 07:00, 2h, 2026-11-20T18:00.")
    ],
    comment: Annotated[str, typer.Option(help="Why; shown with each muted delivery.")],
    subscription: Annotated[
        str,
        typer.Option(
            help="Only this subscription; by default all that notify people.", autocompletion=subscription_names
        ),
    ] = "",
    author: Annotated[str | None, typer.Option(help="Who mutes; by default your user name.")] = None,
    file: FileOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what the silence would mute.")] = False,
    as_json: Json = False,
) -> None:
    """Start a silence now; shows which subscriptions it mutes, and how many events of the last day match."""
    now, settings = datetime.now(UTC), current(context)
    end, known = _end(until, now), catalogues(settings)
    _check(where, comment, known, settings)
    from ..inspection.silence_preview import preview  # noqa: PLC0415 - `list` and `expire` need no filters

    muted = _muted(file, subscription, where, known, settings)
    silence = Silence(new_id(), subscription, where, author_of("--author", author), comment, now, end.moment)
    with Store(settings.consumers.store) as store:
        with store.reading() as transaction:
            seen = preview(transaction, where, muted or (), now - _DAY)
        if not dry_run:
            with store.writing() as transaction:
                table.add(transaction, silence)
    names = None if muted is None else [each.name for each in muted]
    text = [
        f"silence {'would mute' if dry_run else f'{silence.id} mutes'} {_listed(names)}",
        f"until {shown(end.moment)}{f': {end.note}' if end.note else ''}",
        seen.sentence,
    ]
    say(asdict(silence) | {"mutes": names, "preview": asdict(seen)}, as_json=as_json, text=text)


def _end(until: str, now: datetime) -> Reading:
    end = moment("--until", until, now, ahead=True)
    if end.moment <= now:
        fail(f"--until {until}: {shown(end.moment)} has passed: give a later time", 2)
    return end


def _check(where: str, comment: str, known: Catalogues, settings: Settings) -> None:
    from ..inspection.silence_preview import mistakes  # noqa: PLC0415 - as above

    if not comment.strip():
        fail("--comment is empty: give the reason", 2)
    if wrong := mistakes(where, known, settings):
        fail("\n".join(f"--where: {each}" for each in wrong), 2)


def _can_match(where: str, muted: Sequence[Subscription], name: str, known: Catalogues, settings: Settings) -> bool:
    """Return whether the filter *where* can match an event that comes to *muted*; refuse one that cannot for *name*."""
    from ..inspection.silence_preview import here  # noqa: PLC0415 - as above

    reasons, unusual = here(where, muted, known, settings)
    if reasons and name:
        fail("\n".join(f"--where: no event of {name} can match: {each}" for each in reasons), 2)
    for each in reasons:
        note(f"--where: no event that people are notified of can match: {each}")
    for each in unusual if name else ():
        note(f"--where: {each}")
    return not reasons


def _listed(names: Sequence[str] | None) -> str:
    return "all that notify people" if names is None else ", ".join(names) or "nothing at present"


def _muted(
    file: FileOption, name: str, where: str, known: Catalogues, settings: Settings
) -> Sequence[Subscription] | None:
    """Return the subscriptions that are muted, or None where the files cannot be read; refuse a wrong *name*.

    Refuse a filter *where* that can match nothing that comes to it, too.
    """
    from ..inspection.silence_preview import muted_by  # noqa: PLC0415 - as above
    from ..subscriptions import validation  # noqa: PLC0415 - as above

    try:
        subscriptions = validation.load(file or [settings.consumers.subscriptions], known, settings).subscriptions
    except SubscriptionsError as error:
        note(f"which subscriptions it mutes is not known, because their files are invalid: {str(error)[:500]}")
        return None
    found = muted_by(name, subscriptions)
    if not found and not name:
        note("no subscription notifies people")
    if name and not found:
        if any(each.name == name for each in subscriptions):
            fail(f"--subscription: {name} does not notify people, so a silence does not mute it", 2)
        similar = did_you_mean(name, [each.name for each in subscriptions])
        fail(f"--subscription: there is no subscription {name!r}{similar}", 2)
    return found if found and _can_match(where, found, name, known, settings) else []


@silences_app.command("list")
def list_silences(
    context: typer.Context,
    *,
    over: Annotated[bool, typer.Option("--all", help="Also silences that have ended.")] = False,
    as_json: Json = False,
) -> None:
    """Show silences, oldest first."""
    with Store(current(context).consumers.store) as store, store.reading() as transaction:
        found = table.find(transaction, at=None if over else datetime.now(UTC))
    rows(
        found,
        {
            "id": lambda each: each.id,
            "until": lambda each: shown(each.until.astimezone(local_zone())),
            "subscription": lambda each: each.subscription or "(all)",
            "where": lambda each: each.where,
            "author": lambda each: each.author,
            "comment": lambda each: each.comment,
        },
        as_json=as_json,
        empty="no silences",
    )


@silences_app.command()
def expire(
    context: typer.Context,
    silence_id: Annotated[str, typer.Argument(help="The silence's id.")],
    as_json: Json = False,
) -> None:
    """End a silence now; `list --all` still shows it."""
    with Store(current(context).consumers.store) as store, store.writing() as transaction:
        is_ended = table.expire(transaction, silence_id, datetime.now(UTC))
    if not is_ended:
        fail(f"no active silence has the id {silence_id}: `clusterbus silences list` shows the active ones")
    say({"id": silence_id, "done": "expired"}, as_json=as_json, text=f"expired {silence_id}")
