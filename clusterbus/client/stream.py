"""The events of a service, one after another; each is acknowledged when its block is over."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

from router.broker.interface import Arrival
from router.broker.topology import HISTORY
from router.errors import InvalidEvent
from router.model.events import Event

from .finished import Finished, Store, finished, undo
from .options import Options
from .source import Deliver, Item, Source

log = logging.getLogger("clusterbus")


class Stream:
    """What `events(...)` returns: iterate over it, with `for` or `async for`.

    When the next event is asked for, the one before is finished: it is noted in the store, then acknowledged.  An event
    whose block raises, breaks off or is killed is not finished, and comes again.  In a `with` block, the connection
    stays open when a loop ends, and `ack`, `reject` and `stop` can be called.
    """

    def __init__(
        self, source: Source, options: Options, store: str | os.PathLike[str] | Finished | None, *, dedupe: bool
    ) -> None:
        """Read *source*, which is connected when the first event is asked for."""
        self._source, self._options = source, options
        self._own_store = isinstance(store, str | os.PathLike)
        self._finished = finished(store, dedupe=dedupe, unbounded=options.since is not None)
        self._inbox: SimpleQueue[Item] = SimpleQueue()
        self._async_inbox: asyncio.Queue[Item] = asyncio.Queue()
        self._put: Deliver = self._inbox.put
        self._stops: SimpleQueue[None] = SimpleQueue()
        self._hand: tuple[Arrival, Event] | None = None
        self._has_started = self._is_kept = self._is_over = self._is_closed = self._has_loop = self._has_passed = False

    def ack(self) -> None:
        """Finish the event whose block is running now: needed only before `break`, and harmless elsewhere."""
        if self._hand:
            arrival, event = self._hand
            self._finished.add(event.id)
            self._hand = None
            self._source.ack(arrival)

    def reject(self) -> None:
        """Put the event whose block is running now into the dead-letter queue: it can never be handled."""
        if arrival := self._dropped():
            self._source.dead_letter(arrival)

    def give_back(self) -> None:
        """Return the event whose block is running now to its queue, as an exception does."""
        if arrival := self._dropped():
            self._source.requeue(arrival)

    def stop(self) -> None:
        """End the loop after the block that is running now; may be called in a signal handler or another thread."""
        self._is_over = True
        self._stops.put(None)
        self._put(None)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called, or the source has ended."""
        return self._is_over

    def pause(self, seconds: float) -> None:
        """Wait for *seconds*, or until `stop` is called."""
        try:
            self._stops.get(timeout=seconds)
        except Empty:
            return

    def undo(self) -> None:
        """Undo what the block has written through the store's `database` so far."""
        undo(self._finished)

    def close(self) -> None:
        """Return the unfinished event to its queue, and disconnect."""
        self._is_over = self._is_closed = True
        self._source.close(self._dropped())
        if self._own_store and isinstance(self._finished, Store):
            self._finished.close()

    def __iter__(self) -> Generator[Event, None, None]:
        """Yield the events; the loop ends when `stop` is called."""
        self._enter()
        try:
            self._start()
            while not self._is_over:
                event = self._taken(self._inbox.get())
                if event is not None:
                    yield event
                    self.ack()
        finally:
            self._leave()

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        """Yield the events in an event loop, which is free while none is there."""
        self._enter()
        loop, inbox = asyncio.get_running_loop(), self._async_inbox
        self._put = lambda item: _later(loop, inbox, item)
        try:
            self._start()
            while not self._is_over:
                event = self._taken(await inbox.get())
                if event is not None:
                    yield event
                    self.ack()
        finally:
            await asyncio.to_thread(self._leave)

    def __enter__(self) -> Self:
        """Keep the connection open until the end of the `with` block."""
        self._is_kept = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _enter(self) -> None:
        if self._is_closed:
            raise RuntimeError("the stream is closed: call events(...) again, or use it in a with block")
        if self._has_loop:
            # Each would acknowledge the event of the other.
            raise RuntimeError("the stream has a loop already: let each loop, and each thread, call events(...)")
        self._has_loop = True

    def _start(self) -> None:
        if not self._has_started:
            self._has_started = True
            self._source.start(self._deliver)

    def _deliver(self, item: Item) -> None:
        self._put(item)

    def _dropped(self) -> Arrival | None:
        """Return what is under way, which will not be finished."""
        if self._hand is None:
            return None
        (arrival, _), self._hand = self._hand, None
        undo(self._finished)
        return arrival

    def _leave(self) -> None:
        if self._is_kept:
            self.give_back()
        else:
            self.close()
        self._has_loop = False

    def _taken(self, item: Item) -> Event | None:
        """Return the event of *item* if its block is to run now."""
        if item is None:
            self._is_over = True
            return None
        if isinstance(item, BaseException):
            self._is_over = True
            raise item
        if not self._source.holds(item):
            return None  # of a lost connection: it comes again
        try:
            event = Event.from_json(item.body)
        except InvalidEvent as error:
            log.error("a message is not an event", extra={"id": item.id, "reason": str(error)})  # noqa: TRY400 - its traceback says no more
            self._source.dead_letter(item)
            return None
        if not self._options.wants(event.category, event.name, event.type, event.topic):
            self._note_passed(item, event)
        elif event.id not in self._finished:
            self._hand = item, event
            return event
        self._source.ack(item)
        return None

    def _note_passed(self, item: Arrival, event: Event) -> None:
        # Not for the history, which has the events of everybody.
        if item.queue != HISTORY and not self._has_passed:
            self._has_passed = True
            facts = {"id": event.id, "type": event.type, "on": " ".join(self._options.on)}
            log.warning("events in the queue that `on` does not name are acknowledged and passed over", extra=facts)


def _later(loop: asyncio.AbstractEventLoop, inbox: asyncio.Queue[Item], item: Item) -> None:
    # The loop may have ended: then nobody waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(inbox.put_nowait, item)
