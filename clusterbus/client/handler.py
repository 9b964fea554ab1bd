"""A function that handles the events of a service: it is tried again here, then the event is a dead letter."""

from __future__ import annotations

import inspect
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Generic, TypeVar

from consumers.errors import Rejected
from router.model.events import Event

from .stream import Stream

log = logging.getLogger("clusterbus")

Result = TypeVar("Result")
_LONGEST_PAUSE = timedelta(minutes=1)
_DEFERRED = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


class Handler(Generic[Result]):
    """The decorated function: call it with an event in tests, and `run` it in the program."""

    def __init__(
        self, function: Callable[[Event], Result], stream: Callable[[], Stream], *, attempts: int, pause: timedelta
    ) -> None:
        """Let *function* have the events of *stream*, each up to *attempts* times, the second after *pause*."""
        if attempts < 1:
            raise ValueError(f"attempts is {attempts}: the first attempt counts")
        if any(kind(function) for kind in _DEFERRED):
            raise ValueError(
                f"{getattr(function, '__name__', function)} is async or a generator: a call would not run its body, and"
                " lose the event; write a plain function, or `async for event in events(...)`"
            )
        self.function, self._stream, self._attempts, self._pause = function, stream, attempts, pause
        self.__name__, self.__doc__ = getattr(function, "__name__", "handler"), function.__doc__

    def __call__(self, event: Event) -> Result:
        """Call the function once."""
        return self.function(event)

    def run(self) -> None:
        """Handle events until SIGTERM, or an error that only a person can put right."""
        with self._stream() as stream, _stopped_by_sigterm(stream):
            for event in stream:
                self._handle(event, stream)

    def _handle(self, event: Event, stream: Stream) -> None:
        facts = {"id": event.id, "type": event.type}
        pause = self._pause
        for attempt in range(1, self._attempts + 1):
            try:
                self.function(event)
            except Rejected as error:
                log.error("event rejected", extra=facts | {"reason": str(error)})  # noqa: TRY400 - it was meant
                stream.reject()
                return
            except Exception:
                stream.undo()
                if attempt == self._attempts:
                    log.exception("event rejected after its last attempt", extra=facts | {"attempts": attempt})
                    stream.reject()
                    return
                log.warning("attempt failed", exc_info=True, extra=facts | {"attempt": attempt})
                stream.pause(pause.total_seconds())
                if stream.is_stopping:
                    stream.give_back()
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return


@contextmanager
def _stopped_by_sigterm(stream: Stream) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: stream.stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
