"""Whether subscriptions are there to receive: what is published before a queue is bound reaches history only.

So who starts everything starts the consumers first, waits here, and then lets events come.
"""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from router.broker.session import Session
from router.broker.topology import queue_of
from router.errors import Unreachable

_LOOK = 0.1


def wait_served(
    url: str, names: Iterable[str], *, limit: timedelta = timedelta(seconds=60), tend: Callable[[], None] | None = None
) -> None:
    """Return when each subscription of *names* is consumed on the broker at *url*; *tend* is called in between.

    A consumer declares and binds all its queues before it consumes the first.  Raises Unreachable after *limit*.
    """
    until = time.monotonic() + limit.total_seconds()
    waiting = list(names)
    with Session(url, name="clusterbus-readiness", limit=limit) as session:
        while waiting:
            facts = session.queue_facts(queue_of(waiting[-1]))
            if facts is not None and facts.consumers:
                waiting.pop()
            elif time.monotonic() > until:
                raise Unreachable(f"nobody serves the subscription {waiting[-1]} after {limit.total_seconds():g} s")
            else:
                if tend:
                    tend()
                time.sleep(_LOOK)
