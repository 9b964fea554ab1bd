"""Work in batches: what arrived in one turn of the broker's loop is one transaction, and is kept when that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

from router.broker import Broker

from .errors import StoreError

Item = TypeVar("Item")
log = logging.getLogger(__name__)

_FIRST_PAUSE = timedelta(milliseconds=250)
_LONGEST_PAUSE = timedelta(seconds=15)


class Batches(Generic[Item]):
    """Collects items until the broker has nothing more at hand, and has *work* done on all of them at once.

    Where *work* raises StoreError the same items, and what has come since, are worked on again after a pause that
    grows to 15 s, without help.  So *work* has to leave things as they are unless its transaction was written.
    """

    def __init__(self, broker: Broker, work: Callable[[list[Item]], None]) -> None:
        """Work with *work* in the thread of *broker*."""
        self._broker, self._work = broker, work
        self._items: list[Item] = []
        self._waiting = False
        self._failures = 0

    def add(self, item: Item) -> None:
        """Have *item* in the next batch."""
        self._items.append(item)
        if not self._waiting:
            self._waiting = True
            self._broker.when_idle(self._turn)

    def take(self) -> list[Item]:
        """Give back what waits for its batch; nothing is done about it any more."""
        items, self._items = self._items, []
        return items

    def _turn(self) -> None:
        self._waiting = False
        items = self.take()
        if not items:
            return
        try:
            self._work(items)
        except StoreError as error:
            self._items = items + self._items
            self._waiting = True
            pause = _pause(self._failures)
            self._failures += 1
            log.error(  # noqa: TRY400 - a full disk has no traceback worth reading
                "store failed, the batch waits", extra={"reason": str(error), "items": len(items), "pause": str(pause)}
            )
            self._broker.later(pause, self._turn)
        else:
            if self._failures:
                log.warning("store works again", extra={"failures": self._failures})
            self._failures = 0


def _pause(failures: int) -> timedelta:
    return min(_FIRST_PAUSE * (1 << min(failures, 10)), _LONGEST_PAUSE)
