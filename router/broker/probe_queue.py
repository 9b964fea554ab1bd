"""A queue that exists for one question to the broker, and that nobody else's messages reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from ..errors import Refused
from ..model.ids import new_id
from .session import Session
from .topology import Binding, Queue, Topology, queue_of

_EXPIRES = timedelta(minutes=1)
"""After which the broker deletes the queue, if this program is killed before it does."""


@contextmanager
def probe_queue(session: Session, bindings: Callable[[str], tuple[Binding, ...]]) -> Iterator[tuple[str, set[str]]]:
    """Give the name of a queue with *bindings* for it, and the exchanges that it is bound to; it is deleted at the end.

    There are no exchanges if our user may not declare the queue.
    """
    name = queue_of(f"probe-{new_id().lower()}")
    wanted = bindings(name)
    expires = _EXPIRES // timedelta(milliseconds=1)
    queue = Queue(name, {"x-queue-type": "quorum", "x-expires": expires})
    try:
        denied = session.declare(Topology(queues=(queue,), bindings=wanted))
    except Refused:
        # We may not declare the queue, and so it does not exist.
        denied = {name}
    if name in denied:
        yield name, set()
        return
    try:
        yield name, {each.exchange for each in wanted} - denied
    finally:
        session.delete(name)
