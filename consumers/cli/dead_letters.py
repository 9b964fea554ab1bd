"""The commands on dead letters: `clusterbus dead list | show | replay | edit | drop`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from router.cli.app import Json, connect, current, who
from router.cli.output import fail, fields, note, rows, say
from router.model import durations

from ..dead_letters import kept_letters
from ..policies.failure_fingerprints import fingerprint
from ..store.database import Store
from ..store.letters import Letter, Summary
from .options import ALL, LATEST, LetterSelection, selecting

if TYPE_CHECKING:
    from ..dead_letters.publisher import Replay

dead_app = typer.Typer(help="Failed deliveries, rejected records, unroutable messages.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of letters; or select letters with the options.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]
All = Annotated[bool, typer.Option("--all", help="All that match the other options, not only the latest 100.")]
Rate = Annotated[str | None, typer.Option(help="The highest rate, such as 10/s, 60/m or 5/h.")]

Answer = TypeVar("Answer")

_MANY = 1000
"""After how many letters the progress of a replay is shown."""


@dead_app.command("list")
@selecting(LetterSelection)
def list_letters(
    context: typer.Context,
    selection: LetterSelection,
    *,
    state: Annotated[str, typer.Option(help="Only in this state: kept, replayed or dropped.")] = "kept",
    group: Annotated[
        bool, typer.Option("--group", help="Show each failure once, with the number of its letters.")
    ] = False,
    all_of_them: All = False,
    as_json: Json = False,
) -> None:
    """Show dead letters, newest first."""
    limit = ALL if all_of_them or group else LATEST
    found = _open_and(
        context, lambda store: kept_letters.summaries(store, state=state, limit=limit, **selection.filters())
    )
    if group:
        _show_groups(groups(found), as_json=as_json)
        return
    rows(
        found,
        {
            "id": lambda each: each.id,
            "kept": lambda each: f"{each.kept_at:%Y-%m-%d %H:%M:%S}",
            "kind": lambda each: each.kind,
            "event": lambda each: each.event,
            "subscription": lambda each: each.subscription,
            "attempt": lambda each: each.attempt,
            "failure": lambda each: fingerprint(each.reason),
            "reason": lambda each: each.reason,
        },
        as_json=as_json,
        facts=lambda each: asdict(each) | {"failure": fingerprint(each.reason)},
        empty="no letters",
        cut=True,
    )


@dataclass(frozen=True, slots=True)
class Group:
    """The letters of one failure: their *count*, the *first* and *last* time, and the id of one as *example*."""

    failure: str
    count: int
    first: datetime
    last: datetime
    subscriptions: Sequence[str]
    events: Sequence[str]
    example: str
    reason: str


def groups(found: Iterable[Letter | Summary]) -> list[Group]:
    """Return *found* (newest first) grouped by failure, the most frequent failure first."""
    by_failure: dict[str, list[Letter | Summary]] = {}
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
    rows(
        found,
        {
            "failure": lambda each: each.failure,
            "count": lambda each: each.count,
            "first": lambda each: f"{each.first:%Y-%m-%d %H:%M:%S}",
            "last": lambda each: f"{each.last:%Y-%m-%d %H:%M:%S}",
            "subscriptions": lambda each: ", ".join(each.subscriptions),
            "example": lambda each: each.example,
            "reason": lambda each: each.reason,
        },
        as_json=as_json,
        empty="no letters",
        cut=True,
    )


@dead_app.command()
def show(
    context: typer.Context, letter_id: Annotated[str, typer.Argument(help="The letter's id.")], as_json: Json = False
) -> None:
    """Show one letter with all its details, its attempts and its edits."""
    from ..dead_letters import editing  # noqa: PLC0415 - `list` reads no events

    (letter, attempts), changed = _open_and(
        context, lambda store: (kept_letters.show(store, letter_id), kept_letters.amendments(store, letter_id))
    )
    edited = [{"by": each.by, "at": each.at, "changes": list(each.changes)} for each in changed]
    if as_json:
        say(_plain(letter) | {"attempts": [asdict(each) for each in attempts], "edits": edited}, as_json=True)
        return
    shown = [*_plain(letter).items()]
    for row in attempts:
        ended = f"{row.started:%Y-%m-%d %H:%M:%S} {row.outcome or 'open'}: {row.reason or ''}"
        shown += [(f"attempt {row.attempt}", ended), *((f"  {name}", value) for name, value in row.result.items())]
    shown += [
        ("edited", f"{each.at:%Y-%m-%d %H:%M:%S} by {each.by}: {editing.as_text(each.changes)}") for each in changed
    ]
    fields(shown)


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
    """Send letters again to their original destination; a delivery goes only to its own subscription."""
    gap = durations.pace(rate) if rate else timedelta()
    chosen = _chosen(context, ids, selection, all_of_them=all_of_them)
    _replay(context, chosen, gap, dry_run=dry_run, as_json=as_json)


def _replay(context: typer.Context, chosen: Sequence[str], gap: timedelta, *, dry_run: bool, as_json: bool) -> None:
    from ..dead_letters import replay as replays  # noqa: PLC0415 - idem

    done = _Progress(len(chosen), dry_run=dry_run, as_json=as_json)
    with Store(current(context).consumers.store) as store:
        if dry_run:
            for each in replays.plans(store, chosen, by=who()):
                done.ended(each)
        else:
            broker = connect(context, "clusterbus-dead", impatient=True)
            left = replays.replay_each(store, broker, chosen, done.ended, by=who(), clock=_now, gap=gap)
            done.left_out(left)
    if done.failed:
        raise typer.Exit(1)


class _Progress:
    """Prints each replay when it has ended, and how many of many have ended."""

    def __init__(self, count: int, *, dry_run: bool, as_json: bool) -> None:
        self._count, self._dry_run, self._as_json = count, dry_run, as_json
        self._ended = self.failed = 0

    def ended(self, each: Replay) -> None:
        good = self._dry_run or each.is_confirmed
        self.failed += not good
        word = "would replay" if self._dry_run else "replayed" if good else "not replayed"
        answer = each.settlement.value if each.settlement else None
        letter = each.letter
        facts = {"id": letter.id, "to": each.message.exchange, "topic": each.message.key, "done": word}
        why = "" if good else f": {answer or 'the broker did not answer in time'}"
        text = f"{word} {letter.id} {letter.event} {letter.subscription}{why}"
        say(facts | {"broker": answer}, as_json=self._as_json, text=text)
        self._ended += 1
        if self._ended % _MANY == 0:
            note(f"{self._ended} of {self._count} letters")

    def left_out(self, count: int) -> None:
        """Say that *count* letters were not begun: the broker did not answer, or somebody else settled them."""
        if count:
            self.failed += count
            note(f"{count} letters were not replayed; run the same command again for those that are still kept")


@dead_app.command()
def edit(
    context: typer.Context,
    letter_id: Annotated[str, typer.Argument(help="The letter's id.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="data.NAME=VALUE, may be repeated; the value null means: does not apply."),
    ] = None,
    *,
    editor: Annotated[bool, typer.Option("--editor", help="Edit the event's data with $VISUAL or $EDITOR.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Change the event data of a delivery and replay it; the changes are recorded with author and time."""
    if bool(settings) == editor:
        fail("nothing to change: use either --set data.NAME=VALUE or --editor", 2)
    from router.settings.site_catalogue import catalogues  # noqa: PLC0415 - idem

    from ..dead_letters import editing  # noqa: PLC0415 - idem
    from ..dead_letters import replay as replays  # noqa: PLC0415 - idem

    with Store(current(context).consumers.store) as store:
        letter = kept_letters.kept(store, letter_id)
        event = replays.current(store, letter)
        known = catalogues(current(context))
        data = editing.edited(event.data) if editor else editing.with_settings(event, settings or [], known)
        if dry_run:
            _, changes = replays.amended(event, data)
        else:
            changes = replays.amend(store, letter, data, by=who(), clock=_now)
    facts = {"id": letter_id, "done": "would edit" if dry_run else "edited", "changes": changes}
    say(facts, as_json=as_json, text=f"{facts['done']} {letter_id} {editing.as_text(changes) or 'without changes'}")
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
    """Mark letters as dropped; they stay in the store, with your name and the time."""
    chosen = _chosen(context, ids, selection, all_of_them=all_of_them)
    if not dry_run:
        _open_and(context, lambda store: kept_letters.drop(store, chosen, by=who(), clock=_now))
    word = "would drop" if dry_run else "dropped"
    for each in chosen:
        say({"id": each, "done": word}, as_json=as_json, text=f"{word} {each}")


def _chosen(
    context: typer.Context, ids: list[str] | None, selection: LetterSelection, *, all_of_them: bool
) -> list[str]:
    if bool(ids) == (not selection.is_empty or all_of_them):
        options = ", ".join(f"--{name}" for name in selection.__dataclass_fields__ if name != "plain")
        fail(f"no letters selected: give either ids, or {options} or --all", 2)
    if ids:
        return ids
    limit = ALL if all_of_them else LATEST
    found = _open_and(context, lambda store: kept_letters.summaries(store, limit=limit, **selection.filters()))
    if not found:
        fail("no letters match")
    return [each.id for each in found]


def _open_and(context: typer.Context, work: Callable[[Store], Answer]) -> Answer:
    with Store(current(context).consumers.store) as store:
        return work(store)


def _plain(letter: Letter) -> dict[str, Any]:
    body = letter.body.decode("utf-8", "backslashreplace")
    return asdict(letter) | {"failure": fingerprint(letter.reason), "body": body, "headers": dict(letter.headers)}


def _now() -> datetime:
    return datetime.now(UTC)
