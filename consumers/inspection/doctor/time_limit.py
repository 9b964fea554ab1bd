"""A limit on how long a look at a disk or a database may take: one that hangs answers nothing for ever."""

from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from threading import Thread
from typing import TypeVar

Found = TypeVar("Found")

LIMIT = timedelta(seconds=15)


class NoAnswer(TimeoutError):
    """A disk or a database does not answer within the limit; the message says which."""


class TimeLimit:
    """Looks in threads, each of which is left behind if it hangs; what has not answered once is not asked again."""

    def __init__(self, limit: timedelta = LIMIT) -> None:
        """Wait for *limit* at most."""
        self._limit, self._silent = limit, set[str]()

    def within(self, what: str, work: Callable[[], Found]) -> Found:
        """Return what *work* returns, and raise what it raises; raises NoAnswer if *what* does not answer in time."""
        answer: Future[Found] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                answer.set_exception(error)

        if what not in self._silent:
            look = Thread(target=run, name=f"look-at-{what}", daemon=True)
            look.start()
            look.join(self._limit.total_seconds())
            if answer.done():
                return answer.result()
            self._silent.add(what)
        raise NoAnswer(f"{what} does not answer within {self._limit.total_seconds():g} s")
