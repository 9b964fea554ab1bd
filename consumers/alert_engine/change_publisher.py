"""Publishes the changes of alerts from the outbox, until the broker has each; a change has the same id each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from router import database
from router.broker.interface import Broker, Settlement
from router.broker.topology import PUBLISHED_AT
from router.model.events import Event, Wire
from router.pipeline.messages import message_of

from ..delivery.batching import BatchQueue
from ..errors import StoreError
from ..store.alerts import outbox
from ..store.database import Store

_LOOK = timedelta(seconds=2)
_MOST = 500


class ChangePublisher:
    """Publishes changes; to be called in the broker's thread."""

    def __init__(
        self, broker: Broker, store: Store, clock: Callable[[], datetime], wire: Wire, is_ours: Callable[[], bool]
    ) -> None:
        """Publish on *broker* what is in *store*, in the content mode *wire*.

        What other processes wrote, such as commands, is looked for only while it *is_ours* to do so.
        """
        self._broker, self._store, self._clock, self._wire, self._is_ours = broker, store, clock, wire, is_ours
        self._under_way: set[str] = set()
        self._marks = BatchQueue[str](broker, self._mark)
        self._cancel: Callable[[], None] = lambda: None
        self.published = 0
        """How many changes the broker has got."""

    def start(self) -> None:
        """Look regularly for changes that are not published."""
        self._cancel = self._broker.later(_LOOK, self._look)

    def stop(self) -> None:
        """Look no more."""
        self._cancel()

    def publish(self, changes: Iterable[tuple[str, bytes]]) -> None:
        """Publish *changes*, each with its id and its event as JSON, unless that is under way."""
        for id_, body in changes:
            if id_ not in self._under_way:
                self._under_way.add(id_)
                # Its id has the time of the opening: how long it waits is known by this.
                stamp = {PUBLISHED_AT: str(round(self._clock().timestamp() * 1_000_000))}
                message = message_of(Event.from_json(body), stamp, wire=self._wire)
                self._broker.publish(message, partial(self._settled, id_))

    def _look(self) -> None:
        # The store logs what fails.
        with suppress(StoreError):
            if self._is_ours():
                with database.within(database.LIMIT), self._store.reading() as transaction:
                    found = outbox.unpublished(transaction, _MOST)
                self.publish(found)
        self._cancel = self._broker.later(_LOOK, self._look)

    def _settled(self, id_: str, settlement: Settlement) -> None:
        if settlement is Settlement.REFUSED:
            # It is found again by the next look.
            self._under_way.discard(id_)
        else:
            self.published += 1
            self._marks.add(id_)

    def _mark(self, ids: list[str]) -> None:
        with self._store.writing() as transaction:
            outbox.mark_published(transaction, ids, self._clock())
        self._under_way.difference_update(ids)
