"""Publishes past events again, to one service only: what it missed, or what the history has.

An event keeps its id, topic and body; the headers `service` and `replay` mark it.  What was missed leaves the queue of
missed events once the broker has confirmed it for the service, so a replay that is killed loses nothing.

The queue of a service drops its oldest events when it is full, also because of a replay.  So a replay fills at most
half of it, and waits for the service to read.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..broker.amqp.consumption import OFFSET
from ..broker.amqp.requests import Facts, Head
from ..broker.client import Rabbit
from ..broker.interface import Arrival, HeaderValue, Message, Settlement, clean, history_offset
from ..broker.service_topology import REPLAYS, missed_queue, service_queue
from ..broker.stream_end import StreamEnd
from ..broker.topology import HISTORY
from ..errors import BrokerError, Refused
from ..model import ids, topics
from ..model.bounds import KEY, fitting_headers, fitting_id
from ..sources.arguments import fitted

_WINDOW = 100
"""How many events are published before the service's queue is looked at again."""

_LOOK = timedelta(seconds=1)
_QUIET = timedelta(seconds=3)
_PATIENCE = timedelta(seconds=30)
"""How long a full queue may stay as full before a replay gives up."""

_MARGIN = timedelta(minutes=5)
"""Clocks of nodes differ.  Starting earlier in the history costs only time."""

PORTION, PORTION_OCTETS = 10_000, 64 * 2**20
"""How much of the history is in memory at once."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many events were published again; *is_full* says that the service did not read them, so the rest was left."""

    count: int
    is_full: bool = False


@dataclass(frozen=True, slots=True)
class Portion:
    """*events* of the history, up to offset *last*; *is_all* says that it has no later ones."""

    events: tuple[Arrival, ...]
    last: int
    is_all: bool


class Replay:
    """One replay to service *name*, whose queue holds *max_bytes*; used once."""

    def __init__(self, broker: Rabbit, name: str, max_bytes: int, *, mark: str, gap: timedelta = timedelta()) -> None:
        """Publish over *broker*, events at least *gap* apart, with *mark* as the header `replay`."""
        self._broker, self._name, self._room = broker, name, max_bytes // 2
        self._mark, self._gap = mark, gap
        self._ready: deque[tuple[Arrival, Callable[[Arrival], None]]] = deque()
        self._wanted = self._published = self._done = 0
        self._taken = self._octets = 0
        self._left = self._until_look = 0
        self._is_waiting, self._is_full = False, False
        self._tried = timedelta()
        self._end: Callable[[], None] = lambda: None

    def missed(self, count: int) -> Replayed:
        """Publish *count* of the missed events again, or as many as there are."""
        self._wanted = count
        self._broker.consume(missed_queue(self._name), self._arrived, prefetch=_WINDOW)
        self._again()
        return self._run()

    def events(self, found: Iterable[Arrival]) -> Replayed:
        """Publish the events *found* in the history again; there is at least one."""
        for each in found:
            self._take(each, lambda _: None)
        self._wanted = len(self._ready)
        self._broker.questions.when_ready(self._go)
        return self._run()

    def _run(self) -> Replayed:
        self._broker.run()
        return Replayed(self._done, self._is_full)

    def _arrived(self, arrival: Arrival) -> None:
        self._again()
        if self._published + len(self._ready) < self._wanted:
            self._take(arrival, self._broker.ack)
            self._go()

    def _take(self, arrival: Arrival, done: Callable[[Arrival], None]) -> None:
        self._ready.append((arrival, done))
        self._taken += 1
        self._octets += len(arrival.body)

    def _again(self) -> None:
        """Stop when nothing more arrives for a while, and nothing is under way."""
        self._end()
        self._end = self._broker.later(_QUIET, self._quiet)

    def _quiet(self) -> None:
        if self._done == self._published and not self._ready:
            self._broker.stop()
        else:
            self._again()

    def _go(self) -> None:
        while self._ready and not self._is_waiting:
            if not self._until_look or self._left <= 0:
                if self._done < self._published:
                    return  # the broker may not count them yet
                self._is_waiting = True
                self._broker.questions.inspect(service_queue(self._name), self._seen)
                return
            self._publish(*self._ready.popleft())
            if self._gap and self._ready:
                self._is_waiting = True
                self._broker.later(self._gap, self._on)

    def _on(self) -> None:
        self._is_waiting = False
        self._go()

    def _seen(self, answer: Facts | BrokerError | None) -> None:
        """Go on if the queue has room for more; wait if its service reads, and give up if that does not help."""
        if not isinstance(answer, Facts):
            raise answer or Refused(f"{self._name} has no queue: run clusterbus services apply")
        self._left = self._room - answer.messages * self._octets // self._taken
        if self._left > 0:
            self._until_look, self._tried = _WINDOW, timedelta()
            self._on()
        elif self._tried < _PATIENCE:
            self._tried += _LOOK
            again = lambda: self._broker.questions.inspect(service_queue(self._name), self._seen)  # noqa: E731 - short
            self._broker.later(_LOOK, again)
        else:
            self._is_full = True
            self._broker.stop()

    def _publish(self, arrival: Arrival, done: Callable[[Arrival], None]) -> None:
        self._published += 1
        self._until_look -= 1
        self._left -= len(arrival.body)
        self._broker.publish(
            message_of(arrival, self._name, self._mark), lambda settlement: self._settled(arrival, done, settlement)
        )

    def _settled(self, arrival: Arrival, done: Callable[[Arrival], None], settlement: Settlement) -> None:
        if settlement is not Settlement.CONFIRMED:
            raise Refused(f"the queue of {self._name} did not accept event {arrival.id}: {settlement.value}")
        done(arrival)
        self._done += 1
        if self._done == self._wanted:
            self._broker.stop()
        elif self._done == self._published:
            self._go()


def message_of(arrival: Arrival, service: str, mark: str) -> Message:
    """Return the message that gives the event in *arrival* to *service* again."""
    marks: dict[str, HeaderValue] = {"service": service, "replay": mark}
    key, kind = fitted(arrival.key, KEY), fitted(facts(arrival)["type"], KEY)
    headers = fitting_headers(clean(arrival.headers)) | marks
    return Message(REPLAYS, key, arrival.body, fitting_id(arrival.id), kind, headers=headers)


def facts(arrival: Arrival | Head) -> dict[str, str]:
    """Return type and time of the event in *arrival*; empty where it cannot be read."""
    try:
        found = json.loads(arrival.body)
    except (ValueError, RecursionError):
        found = None
    known = found if isinstance(found, dict) else {}
    return {name: value if isinstance(value := known.get(name), str) else "" for name in ("type", "time")}


def missed_events(broker: Rabbit, service: str, most: int) -> list[Arrival]:
    """Return the missed events of *service*, at most *most*, and leave them where they are; runs *broker*.

    They are in the queue in any order afterwards: RabbitMQ puts back in its own order what was looked at.
    """
    found: list[Arrival] = []
    end = [broker.later(_QUIET, broker.stop)]

    def receive(arrival: Arrival) -> None:
        end.pop()()
        end.append(broker.later(_QUIET, broker.stop))
        if len(found) < most:
            found.append(arrival)
        if len(found) == most:
            broker.stop()

    broker.consume(missed_queue(service), receive, prefetch=min(most, 65_535))
    broker.run()
    return sorted(found, key=lambda each: each.id)


def of_patterns(patterns: Collection[str]) -> Callable[[Arrival], bool]:
    """Return a function that says whether an event is one of *patterns*."""
    return lambda arrival: any(topics.matches(each, arrival.key) for each in patterns)


def of_ids(wanted: Collection[str]) -> Callable[[Arrival], bool]:
    """Return a function that says whether an event is one of *wanted*."""
    return lambda arrival: arrival.id in wanted


def begin_of(wanted: Collection[str], now: datetime) -> timedelta:
    """Return how far back to read for the events with the ids *wanted*; raises ValueError if one is no id."""
    for each in wanted:
        if not ids.is_id(each):
            raise ValueError(f"{each!r} is not the id of an event")
    return now - min(ids.moment_of(each) for each in wanted) + _MARGIN


def history(
    broker: Rabbit, back: timedelta, is_wanted: Callable[[Arrival], bool], *, after: int = -1, patience: timedelta
) -> Portion:
    """Return the next wanted events of the history of the time *back*, those behind offset *after*; runs *broker*."""
    found: list[Arrival] = []
    state = {"last": after, "octets": 0, "is_all": False}

    def ended() -> None:
        state["is_all"] = True
        broker.stop()

    end = StreamEnd(broker, HISTORY, ended, limit=patience)

    def receive(arrival: Arrival) -> None:
        end.again()
        at = arrival.headers.get(OFFSET)
        is_old = isinstance(at, int) and at <= state["last"]
        if is_old or len(found) >= PORTION or state["octets"] >= PORTION_OCTETS:
            return
        state["last"] = int(at) if isinstance(at, int) else state["last"]
        if is_wanted(arrival):
            found.append(arrival)
            state["octets"] += len(arrival.body)
            if len(found) >= PORTION or state["octets"] >= PORTION_OCTETS:
                broker.stop()

    broker.consume(HISTORY, receive, prefetch=1000, offset=history_offset(back))
    broker.run()
    return Portion(tuple(found), state["last"], bool(state["is_all"]))
