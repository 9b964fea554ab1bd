"""Asks a part of a program that may be slow or stuck, without waiting for it for long, and once at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Answer = TypeVar("Answer")
Answered = Callable[[Answer | Exception], None]


@dataclass(frozen=True, slots=True)
class Look(Generic[Answer]):
    """What is known: the last *answer*, or the *error* in its place; without any answer yet, both are None.

    *took* is how long that answer took, and *unanswered* how long a later question waits by now, in seconds.
    """

    answer: Answer | None = None
    error: Exception | None = None
    took: float = 0.0
    unanswered: float = 0.0


class Probe(Generic[Answer]):
    """Keeps the last answer of something that is asked in another thread.

    While one question is unanswered, no other is asked; so whoever asks often costs little, and a part that is stuck is
    waited for once.
    """

    def __init__(
        self,
        ask: Callable[[Answered[Answer]], None],
        *,
        fresh: float,
        patience: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask with *ask*, which returns at once and later calls its argument, once, from any thread.

        An answer is used for *fresh* seconds.  `look` waits *patience* seconds for a new one.
        """
        self._ask, self._fresh, self._patience, self._monotonic = ask, fresh, patience, monotonic
        self._changed = threading.Condition()
        self._asked: float | None = None
        self._answered_at = float("-inf")
        self._last: Look[Answer] = Look()

    def look(self) -> Look[Answer]:
        """Return what is known, after a new question if the last answer is old; for one thread."""
        now = self._monotonic()
        if self._asked is None and now - self._answered_at > self._fresh:
            self._asked = now
            self._ask(self._take)
        with self._changed:
            if self._asked is not None:
                left = self._asked + self._patience - now
                self._changed.wait_for(lambda: self._asked is None, max(0.0, left))
            if self._asked is None:
                return self._last
            last, unanswered = self._last, self._monotonic() - self._asked
            return Look(last.answer, last.error, last.took, unanswered)

    def _take(self, answer: Answer | Exception) -> None:
        now = self._monotonic()
        with self._changed:
            took = now - (self._asked if self._asked is not None else now)
            self._asked, self._answered_at = None, now
            self._last = Look(error=answer, took=took) if isinstance(answer, Exception) else Look(answer, took=took)
            self._changed.notify_all()
