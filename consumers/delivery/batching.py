"""Batches: what arrives in one turn of the broker's loop is one transaction, and is kept when that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

from router import database
from router.broker.interface import Broker

from ..errors import StoreError

Item = TypeVar("Item")
log = logging.getLogger(__name__)

MOST = 2000
"""The most items of a batch: consumers wait for its transaction, and databases limit the values of a statement."""

_FIRST_PAUSE = timedelta(milliseconds=250)
_LONGEST_PAUSE = timedelta(seconds=5)


class BatchQueue(Generic[Item]):
    """Collects items until the broker has no more at hand, then calls *work* with all of them at once, up to `MOST`.

    Where *work* raises StoreError it is called again, with the same items and those added since, after a pause that
    grows to 5 s, and with half as many if the store did not answer in time.  The store logs that.  Where it raises
    anything else it is called for each item by itself, and each that fails alone is blamed.  So *work* must change
    nothing unless its transaction was written.
    """

    def __init__(
        self,
        broker: Broker,
        work: Callable[[list[Item]], None],
        blame: Callable[[Item, Exception], None] | None = None,
    ) -> None:
        """Call *work* in the thread of *broker*, and *blame*, which must not raise, with each item that it fails for.

        Without *blame*, what *work* raises ends the program.
        """
        self._broker, self._work, self._blame = broker, work, blame
        self._items: list[Item] = []
        self._waiting = False
        self._failures = 0
        self._most = MOST

    def add(self, item: Item) -> None:
        """Put *item* into the next batch."""
        self._items.append(item)
        if not self._waiting:
            self._waiting = True
            self._broker.when_idle(self._turn)

    def take(self) -> list[Item]:
        """Return the items that wait for their batch, and forget them."""
        items, self._items = self._items, []
        return items

    def _turn(self) -> None:
        self._waiting = False
        items = self.take()
        if not items:
            return
        now, self._items = items[: self._most], items[self._most :]
        try:
            with database.within(database.LIMIT):
                self._do(now)
        except StoreError as error:
            self._items = now + self._items
            self._waiting = True
            if isinstance(error.__cause__, database.TooSlow):
                self._most = max(1, len(now) // 2)
            pause = _pause(self._failures)
            self._failures += 1
            self._broker.later(pause, self._turn)
        else:
            self._failures = 0
            if self._items and not self._waiting:
                self._waiting = True
                self._broker.later(timedelta(), self._turn)
            self._most = min(MOST, 2 * self._most)

    def _do(self, items: list[Item]) -> None:
        """Work on *items* at once, or where that fails on each by itself; those that are done are removed."""
        try:
            self._work([*items])
        except Exception as error:
            if self._blame is None or (isinstance(error, StoreError) and not is_of_the_data(error)):
                raise
            if len(items) == 1:
                self._blame(items[0], error)
                items.clear()
                return
            log.exception("a batch failed, working on each of its items by itself", extra={"items": len(items)})
            while items:
                self._do(items[:1])
                del items[0]
        else:
            items.clear()


def is_of_the_data(error: StoreError) -> bool:
    """Say whether the database refused a value, which it would refuse again, rather than the work."""
    return database.is_of_the_data(error.__cause__)


def _pause(failures: int) -> timedelta:
    return min(_FIRST_PAUSE * (1 << min(failures, 10)), _LONGEST_PAUSE)
