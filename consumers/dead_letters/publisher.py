"""Publishes replays in order, limited in rate and in the number of unconfirmed messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from router.broker.interface import Broker, Message, Settlement

from ..store.letters import Letter

_WINDOW = 200
"""The largest number of unconfirmed messages."""

_BATCH = 100
"""The number of confirmed replays that one transaction marks."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A letter, the message that replays it, and the broker's answer, or None while there is no answer."""

    letter: Letter
    message: Message
    settlement: Settlement | None = None

    @property
    def is_confirmed(self) -> bool:
        """Whether the broker has it."""
        return self.settlement is Settlement.CONFIRMED


class Publisher:
    """Publishes replays; it is used once."""

    def __init__(
        self,
        broker: Broker,
        replays: Iterator[Replay],
        mark: Callable[[Sequence[Replay]], None],
        ended: Callable[[Replay], None],
        gap: timedelta,
        limit: timedelta,
    ) -> None:
        """Publish *replays* over *broker*, at least *gap* apart; each is asked for when it is to be published.

        *mark* writes that some are confirmed; *ended* is called with each that was begun, with the broker's answer.
        """
        self._broker, self._replays, self._mark, self._on_end = broker, replays, mark, ended
        self._gap, self._limit = gap, limit
        self.begun = 0
        self._under_way: dict[str, Replay] = {}
        self._next: Replay | None = None
        self._is_paced = False
        self._confirmed: list[Replay] = []
        self._forget_alarm: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Publish all; return when all are settled, or when the broker has not answered for the limit."""
        self._next = next(self._replays, None)
        if self._next is None:
            return
        try:
            self._go_on()
            self._broker.run()
        finally:
            self._write()
            for each in self._under_way.values():
                self._on_end(each)

    def _go_on(self) -> None:
        while (each := self._next) is not None and len(self._under_way) < _WINDOW and not self._is_paced:
            self._next = next(self._replays, None)
            self.begun += 1
            self._under_way[each.letter.id] = each
            self._alarm()
            if self._gap:
                self._is_paced = True
                self._broker.later(self._gap, self._next_turn)
            self._broker.publish(each.message, partial(self._settled, each))

    def _next_turn(self) -> None:
        self._is_paced = False
        self._go_on()

    def _settled(self, each: Replay, settlement: Settlement) -> None:
        del self._under_way[each.letter.id]
        self._on_end(done := replace(each, settlement=settlement))
        if settlement is Settlement.CONFIRMED:
            self._confirmed.append(done)
        if len(self._confirmed) >= _BATCH:
            self._write()
        self._alarm()
        if self._next is None and not self._under_way:
            self._broker.stop()
        else:
            self._go_on()

    def _alarm(self) -> None:
        """Stop the broker if no unconfirmed message is settled within the limit."""
        self._forget_alarm()
        self._forget_alarm = self._broker.later(self._limit, self._broker.stop) if self._under_way else lambda: None

    def _write(self) -> None:
        confirmed, self._confirmed = self._confirmed, []
        if confirmed:
            self._mark(confirmed)
