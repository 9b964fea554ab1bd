"""The end of a consumer that is to handle what there is, and not to wait for more: `consume --once | --drain`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from router.broker.amqp.requests import Facts
from router.broker.client import Rabbit
from router.broker.topology import DEAD, queue_of
from router.errors import BrokerError
from router.terminal_text import counted

from ..delivery.engine import Engine
from ..store import queries
from ..store.database import Store

_LOOK = timedelta(seconds=0.5)
_QUIET = 3
"""How often in a row nothing must be left: what the broker has just sent may still be on its way."""


@dataclass(frozen=True, slots=True)
class Draining:
    """When to end: as soon as the queues are empty, or with *retries* when nothing waits in the broker either.

    After *within* it ends in any case.
    """

    retries: bool
    within: timedelta | None = None


class Drain:
    """Looks whether anything is left, and ends the consumer when nothing is; all in the broker's thread."""

    def __init__(
        self,
        wanted: Draining,
        broker: Rabbit,
        engine: Engine,
        store: Store,
        *,
        stop: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        """Call *stop* at the end.  *is_late* says that the time was over before."""
        self._wanted, self._broker, self._engine, self._store = wanted, broker, engine, store
        self._stop, self._clock = stop, clock
        self._quiet, self._seen = 0, ""
        self.is_late = False

    def begin(self) -> None:
        """Look from now on."""
        self._broker.later(_LOOK, self._look)
        if self._wanted.within is not None:
            self._broker.later(self._wanted.within, self._end_late)

    @property
    def problem(self) -> str:
        """What went wrong; empty if all that there was is done."""
        dead = sum(each.dead + each.unreadable for each in self._engine.counts.values())
        letters = f"{counted(dead, 'dead letter')}: `clusterbus dead list` shows more" if dead else ""
        return "; ".join(filter(None, (letters, self._engine.activity.problem)))

    def _end_late(self) -> None:
        self.is_late = True
        self._stop()

    def _look(self) -> None:
        seen = str(self._engine.counts)
        if self._engine.in_flight or seen != self._seen:
            self._quiet, self._seen = 0, seen
            self._broker.later(_LOOK, self._look)
            return
        queues = [*(queue_of(name) for name in self._engine.counts), DEAD]
        answers: dict[str, Facts | BrokerError | None] = {}
        for queue in queues:
            self._broker.questions.inspect(queue, partial(self._answered, queue, queues, answers))

    def _answered(
        self,
        queue: str,
        queues: list[str],
        answers: dict[str, Facts | BrokerError | None],
        answer: Facts | BrokerError | None,
    ) -> None:
        answers[queue] = answer
        if len(answers) < len(queues):
            return
        # A queue that is not there yet is about to be declared.
        is_empty = all(isinstance(each, Facts) and not each.messages for each in answers.values())
        self._quiet = self._quiet + 1 if is_empty else 0
        if self._quiet >= _QUIET and not self._is_anything_left():
            self._stop()
        else:
            self._broker.later(_LOOK, self._look)

    def _is_anything_left(self) -> bool:
        if not self._wanted.retries:
            return False
        self._quiet = 0
        with self._store.reading() as transaction:
            return queries.is_any_left(transaction, [*self._engine.counts], self._clock())
