"""Whether the readers of queues take what waits there: a consumer that hangs counts at the broker like one that works.

Queues are looked at several times.  Whose ready messages never become fewer meanwhile stands still, or gets at least as
much as is taken.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

from router.broker.session import Session
from router.errors import Denied, QueuesDown

SPAN = timedelta(seconds=3)
"""How long queues are looked at; it ends earlier once all of them have become shorter."""

_STEP = timedelta(milliseconds=300)


STANDS = f"what waits has not become less within {SPAN.seconds} s"
"""How it is said that a queue stands still, or gets as much as is taken from it."""


def standing(
    session: Session, counts: Mapping[str, int], pause: Callable[[float], None] = time.sleep
) -> frozenset[str]:
    """Return those of the queues in *counts* that never have fewer ready messages within `SPAN`.

    *counts* are the ready messages of a first look.  A queue that our user may not read any more, or that is gone or
    empty, is none of them.  Raises BrokerError.
    """
    left = {name: count for name, count in counts.items() if count}
    for _ in range(SPAN // _STEP):
        if not left:
            break
        pause(_STEP.total_seconds())
        left = _not_fewer(session, left)
    return frozenset(left)


def _not_fewer(session: Session, counts: Mapping[str, int]) -> dict[str, int]:
    """Return the queues of *counts* that have at least as many ready messages as then, with their number now."""
    found: dict[str, int] = {}
    for name, before in counts.items():
        with suppress(Denied, QueuesDown):
            facts = session.queue_facts(name)
            if facts is not None and facts.messages >= before:
                found[name] = facts.messages
    return found
