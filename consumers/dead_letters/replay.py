"""Replays: publish letters again, unchanged or with edited event data, at a limited rate.

The nonce of a replay is stored before it is used.  An interrupted replay continues under the same nonce, so each
letter is delivered once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy.engine import Connection

from router.broker.interface import Broker, Message, clean
from router.broker.topology import INGRESS, PUBLISHED_AT, RETURN
from router.errors import InvalidEvent
from router.model.bounds import KEY, fitting_headers, fitting_id
from router.model.events import Event, Value
from router.model.ids import new_id
from router.pipeline.messages import CUT, DIGEST
from router.sources.arguments import fitted

from ..deliveries import FOLDED, bounded, is_fold
from ..errors import LetterError
from ..store import letters as table
from ..store.database import Store, batched
from ..store.letters import Letter, Summary
from . import keeper, kept_letters
from .letter_bounds import LEFT_OUT
from .publisher import Publisher, Replay

_OF_THE_FIRST_TIME = ("reason", "claimed-key", keeper.ORIGIN, CUT, DIGEST, PUBLISHED_AT)


def check(store: Store, letter_ids: Sequence[str]) -> list[str]:
    """Return the ids of these letters, each once.  Raises StoreError.

    Raises LetterError if one of them does not exist, was replayed or dropped, or cannot be replayed.
    """
    found = kept_letters.all_kept(store, letter_ids)
    for each in found:
        _check(each)
    return [each.id for each in found]


def plan(store: Store, letter_ids: Sequence[str], *, by: str) -> list[Replay]:
    """Return what a replay of these letters would publish, with their edits; writes nothing.

    Raises LetterError as `check` does.  Raises StoreError.
    """
    with store.reading() as transaction:
        return _planned(transaction, check(store, letter_ids), {}, by)


def plans(store: Store, letter_ids: Sequence[str], *, by: str) -> Iterator[Replay]:
    """Yield what `plan` returns, with few letters in memory at once."""
    for those in batched(check(store, letter_ids)):
        with store.reading() as transaction:
            planned = _planned(transaction, those, {}, by)
        yield from planned


def _planned(transaction: Connection, ids: Sequence[str], nonces: Mapping[str, str], by: str) -> list[Replay]:
    found = table.get_all(transaction, ids)
    amended = table.amended(transaction, ids)
    letters = (found[each] for each in ids)
    wanted = [replace(each, body=amended[each.id][-1].body) if each.id in amended else each for each in letters]
    return [Replay(each, message_of(each, nonces.get(each.id) or each.replay or new_id(), by)) for each in wanted]


def _check(letter: Letter | Summary) -> None:
    """Raise LetterError if *letter* cannot be replayed."""
    if letter.kind == "delivery" and not letter.subscription:
        raise LetterError(f"cannot replay letter {letter.id}: it names no subscription; drop it instead")
    if letter.kind == "unrouted" and not letter.exchange:
        raise LetterError(f"cannot replay letter {letter.id}: its exchange is not one of ours; drop it instead")


def message_of(letter: Letter, nonce: str, by: str) -> Message:
    """Return the message that replays *letter*, to its subscription or its original exchange.  Raises LetterError.

    A record names the user who published it first: the router judges it by that user, not by who replays it.
    """
    _check(letter)
    if (octets := keeper.whole_octets(letter.headers)) is not None:
        kept = f"{len(letter.body)} of {octets} octets"
        raise LetterError(f"cannot replay letter {letter.id}: it is cut, {kept} are kept; drop it instead")
    own = {name: value for name, value in clean(letter.headers).items() if name != LEFT_OUT}
    key, id_, event = fitted(letter.topic, KEY), fitting_id(letter.event_id), fitted(letter.event, KEY)
    if letter.kind == "delivery":
        headers = fitting_headers(own, "traceparent", "replay")
        headers.pop("reason", None)
        if is_fold(str(headers.get("replay", ""))):
            # The group is delivered again with all its events.
            nonce = f"{FOLDED}-{nonce}"
        headers |= {"subscription": fitted(letter.subscription, KEY), "topic": key, "replay": nonce, "attempt": 1}
        return Message(RETURN, key, letter.body, id_, event, headers=headers)
    found = {name: value for name, value in own.items() if name not in _OF_THE_FIRST_TIME}
    headers = fitting_headers(found, "traceparent", "epoch", "sequence")
    headers["replayed-by"] = bounded(by)
    if letter.kind == "record" or letter.exchange == INGRESS:
        headers[keeper.ORIGIN] = str(letter.headers.get(keeper.ORIGIN) or "")
    if letter.kind == "record":
        return Message(INGRESS, key, letter.body, id_, event.partition(".")[2], "application/json", headers)
    return Message(letter.exchange, key, letter.body, id_, event, headers=headers)


def replay(
    store: Store,
    broker: Broker,
    letter_ids: Sequence[str],
    *,
    by: str,
    clock: Callable[[], datetime],
    gap: timedelta = timedelta(),
    limit: timedelta = timedelta(seconds=30),
) -> list[Replay]:
    """Publish these letters again, at least *gap* apart, and mark the confirmed ones as replayed; return all.

    As `replay_each`, for letters that fit in memory.
    """
    done: dict[str, Replay] = {}

    def ended(each: Replay) -> None:
        done[each.letter.id] = each

    replay_each(store, broker, letter_ids, ended, by=by, clock=clock, gap=gap, limit=limit)
    return [done[each] for each in dict.fromkeys(letter_ids) if each in done]


def replay_each(  # noqa: PLR0913 - as `replay`
    store: Store,
    broker: Broker,
    letter_ids: Sequence[str],
    ended: Callable[[Replay], None],
    *,
    by: str,
    clock: Callable[[], datetime],
    gap: timedelta = timedelta(),
    limit: timedelta = timedelta(seconds=30),
) -> int:
    """Publish these letters again, at least *gap* apart, and mark the confirmed ones as replayed.

    Call *ended* with each that was begun, with the broker's answer; return how many were not begun.  The store is read
    and written in portions, so that consumers need not wait, and few letters are in memory at once.  Runs *broker*, and
    stops it when all messages are settled, or when none was settled for *limit*.  In every case, the confirmed ones are
    marked.  A letter that somebody else settles meanwhile is left out.  Raises LetterError, StoreError, BrokerError.
    """
    ids = check(store, letter_ids)

    def mark(confirmed: Sequence[Replay]) -> None:
        with store.writing() as transaction:
            table.settle_all(transaction, [each.letter.id for each in confirmed], "replayed", by, clock())

    publishing = Publisher(broker, _begun(store, ids, by), mark, ended, gap, limit)
    publishing.run()
    return len(ids) - publishing.begun


def _begun(store: Store, ids: Sequence[str], by: str) -> Iterator[Replay]:
    """Yield the replays of these letters, whose nonces are stored; read and write when the next one is wanted."""
    for those in batched(ids):
        with store.writing() as transaction:
            nonces = table.give_nonces(transaction, {each: new_id() for each in those})
            planned = _planned(transaction, [each for each in those if each in nonces], nonces, by)
        yield from planned


def event_of(letter: Letter) -> Event:
    """Return the event of a delivery's letter for editing; raises LetterError if it cannot be edited."""
    if letter.kind != "delivery":
        raise LetterError(f"cannot edit letter {letter.id} of kind {letter.kind}: only deliveries can be edited")
    if letter.replay:
        raise LetterError(
            f"cannot edit letter {letter.id}: its replay was started and not confirmed; finish it with "
            f"`clusterbus dead replay {letter.id}`, and edit the letter that results if it fails again"
        )
    try:
        return Event.from_json(letter.body)
    except InvalidEvent as error:
        raise LetterError(f"cannot edit letter {letter.id}: it contains no valid event: {error}") from error


def amended(event: Event, data: Mapping[str, Value]) -> tuple[Event, list[dict[str, Any]]]:
    """Return *event* with its data replaced by *data*, and the changes; its id and all else stay the same.

    Raises LetterError if the result is not a valid event.
    """
    names = dict.fromkeys((*event.data, *data))
    changes: list[dict[str, Any]] = []
    for name in names:
        before, after = event.data.get(name, ...), data.get(name, ...)
        if before != after or type(before) is not type(after):
            sides = {"from": before, "to": after}
            changes.append({"name": f"data.{name}"} | {side: each for side, each in sides.items() if each is not ...})
    edited = {each["name"].removeprefix("data.") for each in changes}
    malformed = " ".join(each for each in (event.malformed or "").split() if each not in edited) or None
    for name, value in data.items():
        if not _is_unicode(name) or not _is_unicode(value):
            raise LetterError(f"with these changes the event is not valid: data.{name} has bytes that are not UTF-8")
    try:
        return Event.model_validate(event.model_dump() | {"data": dict(data), "malformed": malformed}), changes
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(each) for each in first["loc"])
        raise LetterError(f"with these changes the event is not valid: {place}: {first['msg']}") from error


def _is_unicode(value: Value) -> bool:
    r"""Say whether JSON can hold *value*: an argument of a command may have bytes that are not UTF-8.

    >>> _is_unicode(["ä"]), _is_unicode("\udc80")
    (True, False)
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def amend(
    store: Store, letter: Letter, data: Mapping[str, Value], *, by: str, clock: Callable[[], datetime]
) -> list[dict[str, Any]]:
    """Store that a replay of *letter* uses *data* as its event's data; return the changes.

    The letter itself does not change.  Raises LetterError, StoreError.
    """
    event, changes = amended(current(store, letter), data)
    if not changes:
        raise LetterError(f"no change to letter {letter.id}: the data is the same as before")
    with store.writing() as transaction:
        table.amend(transaction, letter.id, by=by, at=clock(), changes=changes, body=event.to_json())
    return changes


def current(store: Store, letter: Letter) -> Event:
    """Return the event of *letter* with all edits, as a replay would publish it now."""
    event = event_of(letter)
    before = kept_letters.amendments(store, letter.id)
    return Event.from_json(before[-1].body) if before else event
