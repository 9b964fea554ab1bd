"""Replays: letters published again, as they were kept or with their event's data amended, at a pace.

The nonce of a replay is written before it is used: one that was cut short is finished under the same nonce, and
delivered once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from pydantic import ValidationError

from router.broker import Broker, Message, Settlement
from router.broker.topology import INGRESS, RETURN
from router.errors import InvalidEvent
from router.events import Event, Value
from router.records import new_id

from . import letters
from .arrivals import clean
from .deliveries import FOLDED, bounded, is_fold
from .errors import LetterError
from .store import Store
from .store import letters as table
from .store.letters import Amendment, Letter

_OF_REJECTION = ("reason", "claimed-key", "origin-user")
_PACE = re.compile(r"([1-9]\d{0,5})/([smh])")
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}

_WINDOW = 200
"""Messages that the broker has not confirmed yet, at the most."""

_BATCH = 100
"""Confirmed replays that are marked in one go."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A letter, what is published to replay it, and what the broker said; None where it has said nothing yet."""

    letter: Letter
    message: Message
    settlement: Settlement | None = None


def pace(text: str) -> timedelta:
    """Return the time between two replays that *text* asks for; raises ValueError.

    >>> pace("10/s"), pace("6/m")
    (datetime.timedelta(microseconds=100000), datetime.timedelta(seconds=10))
    """
    found = _PACE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no rate: write 10/s, 60/m or 5/h")
    return _UNITS[found[2]] / int(found[1])


def plan(store: Store, letter_ids: Sequence[str], *, by: str) -> list[Replay]:
    """Return what replaying these letters would publish, as they were amended; nothing is written.

    Raises LetterError where one of them is not there, not kept any more, or cannot be replayed; StoreError.
    """
    found = letters.all_kept(store, letter_ids)
    with store.reading() as transaction:
        amended = table.amended(transaction, [each.id for each in found])
    wanted = [replace(each, body=amended[each.id][-1].body) if each.id in amended else each for each in found]
    return [Replay(letter, message_of(letter, letter.replay or new_id(), by)) for letter in wanted]


def message_of(letter: Letter, nonce: str, by: str) -> Message:
    """Return what replays *letter*: to its subscription alone, or to where it was going.  Raises LetterError."""
    if letter.kind == "delivery":
        if not letter.subscription:
            raise LetterError(f"letter {letter.id} names no subscription: it can't be replayed, only dropped")
        headers = clean(letter.headers)
        headers.pop("reason", None)
        if is_fold(str(headers.get("replay", ""))):
            # It is told again with all that was gathered under it.
            nonce = f"{FOLDED}-{nonce}"
        headers |= {"subscription": letter.subscription, "topic": letter.topic, "replay": nonce, "attempt": 1}
        return Message(RETURN, letter.topic, letter.body, letter.event_id, letter.event, headers=headers)
    headers = {name: value for name, value in clean(letter.headers).items() if name not in _OF_REJECTION}
    headers["replayed-by"] = bounded(by)
    if letter.kind == "record":
        kind = letter.event.partition(".")[2]
        return Message(INGRESS, letter.topic, letter.body, letter.event_id, kind, "application/json", headers)
    if not letter.exchange:
        raise LetterError(f"letter {letter.id} was going to no exchange of ours: it can't be replayed, only dropped")
    return Message(letter.exchange, letter.topic, letter.body, letter.event_id, letter.event, headers=headers)


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
    """Publish these letters again, at least *gap* apart, and mark as replayed what the broker confirms; return all.

    Runs *broker*, and stops it: when all are confirmed, or when none was for *limit*.  However it ends, what was
    confirmed is marked.  Raises LetterError, StoreError, BrokerError.
    """
    planned = plan(store, letter_ids, by=by)
    with store.writing() as transaction:
        for at, each in enumerate(planned):
            wanted = str(each.message.headers.get("replay") or new_id()).removeprefix(f"{FOLDED}-")
            nonce = table.give_nonce(transaction, each.letter.id, wanted)
            planned[at] = Replay(each.letter, message_of(each.letter, nonce, by))

    def mark(confirmed: Sequence[int]) -> None:
        with store.writing() as transaction:
            for at in confirmed:
                table.settle(transaction, planned[at].letter.id, "replayed", by, clock())

    publishing = _Publishing(broker, [each.message for each in planned], mark, gap, limit)
    publishing.run()
    return [replace(each, settlement=publishing.settlements.get(at)) for at, each in enumerate(planned)]


class _Publishing:
    """Publishes messages one after the other, not faster than asked, and not many more than are confirmed."""

    def __init__(
        self,
        broker: Broker,
        messages: Sequence[Message],
        mark: Callable[[Sequence[int]], None],
        gap: timedelta,
        limit: timedelta,
    ) -> None:
        self.settlements: dict[int, Settlement] = {}
        self._broker, self._messages, self._mark = broker, messages, mark
        self._gap, self._limit = gap, limit
        self._sent = 0
        self._is_paced = False
        self._confirmed: list[int] = []
        self._forget_alarm: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Publish all; returns when all are settled, or the broker has said nothing for the limit."""
        if not self._messages:
            return
        try:
            self._go_on()
            self._broker.run()
        finally:
            self._write()

    def _go_on(self) -> None:
        while self._sent < len(self._messages) and self._under_way < _WINDOW and not self._is_paced:
            at = self._sent
            self._sent += 1
            self._alarm()
            if self._gap:
                self._is_paced = True
                self._broker.later(self._gap, self._next)
            self._broker.publish(self._messages[at], partial(self._settled, at))

    def _next(self) -> None:
        self._is_paced = False
        self._go_on()

    @property
    def _under_way(self) -> int:
        return self._sent - len(self.settlements)

    def _settled(self, at: int, settlement: Settlement) -> None:
        self.settlements[at] = settlement
        if settlement is Settlement.CONFIRMED:
            self._confirmed.append(at)
        if len(self._confirmed) >= _BATCH:
            self._write()
        self._alarm()
        if len(self.settlements) == len(self._messages):
            self._broker.stop()
        else:
            self._go_on()

    def _alarm(self) -> None:
        """Stop where nothing comes of what is under way."""
        self._forget_alarm()
        self._forget_alarm = self._broker.later(self._limit, self._broker.stop) if self._under_way else lambda: None

    def _write(self) -> None:
        confirmed, self._confirmed = self._confirmed, []
        if confirmed:
            self._mark(confirmed)


def event_of(letter: Letter) -> Event:
    """Return the event of a delivery's letter, to be amended; raises LetterError where that can't be."""
    if letter.kind != "delivery":
        raise LetterError(f"letter {letter.id} is of the kind {letter.kind}: only a delivery's event can be edited")
    if letter.replay:
        raise LetterError(
            f"a replay of letter {letter.id} was begun and not confirmed: finish it by `clusterbus dead replay "
            f"{letter.id}`, and edit what comes of it"
        )
    try:
        return Event.from_json(letter.body)
    except InvalidEvent as error:
        raise LetterError(f"letter {letter.id} holds no event that could be edited: {error}") from error


def amended(event: Event, data: Mapping[str, Value]) -> tuple[Event, list[dict[str, Any]]]:
    """Return *event* with *data* instead of its own, and what is changed by that; its id and all else stay.

    Raises LetterError where that is no event.
    """
    names = dict.fromkeys((*event.data, *data))
    changes: list[dict[str, Any]] = []
    for name in names:
        before, after = event.data.get(name, ...), data.get(name, ...)
        if before != after or type(before) is not type(after):
            sides = {"from": before, "to": after}
            changes.append({"name": f"data.{name}"} | {side: each for side, each in sides.items() if each is not ...})
    mended = {each["name"].removeprefix("data.") for each in changes}
    malformed = " ".join(each for each in (event.malformed or "").split() if each not in mended) or None
    try:
        return Event.model_validate(event.model_dump() | {"data": dict(data), "malformed": malformed}), changes
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(each) for each in first["loc"])
        raise LetterError(f"with that it is no event: {place}: {first['msg']}") from error


def amend(
    store: Store, letter: Letter, data: Mapping[str, Value], *, by: str, clock: Callable[[], datetime]
) -> list[dict[str, Any]]:
    """Keep with *letter* that its event is replayed with *data*; return what is changed.

    The letter itself stays as it was kept.  Raises LetterError, StoreError.
    """
    event, changes = amended(current(store, letter), data)
    if not changes:
        raise LetterError(f"nothing is changed in letter {letter.id}")
    with store.writing() as transaction:
        table.amend(transaction, letter.id, by=by, at=clock(), changes=changes, body=event.to_json())
    return changes


def current(store: Store, letter: Letter) -> Event:
    """Return the event of *letter* as it would be replayed now."""
    event = event_of(letter)
    before = amendments(store, letter.id)
    return Event.from_json(before[-1].body) if before else event


def amendments(store: Store, letter_id: str) -> list[Amendment]:
    """Return what was changed of a letter, the last change last.  Raises StoreError."""
    with store.reading() as transaction:
        return table.amended(transaction, [letter_id]).get(letter_id, [])
