"""Wait until every subscription is consumed.  An event that is published before a queue is bound reaches history only.

A program that starts everything starts the consumers first, waits here, and starts what publishes events last.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from router.broker.session import Session
from router.broker.topology import queue_of
from router.errors import Unreachable
from router.model import durations

_LOOK = timedelta(milliseconds=100)


def wait_served(
    url: str | Sequence[str],
    names: Iterable[str],
    *,
    limit: timedelta = timedelta(seconds=60),
    tend: Callable[[], None] = lambda: None,
) -> None:
    """Return when each subscription of *names* is consumed on the broker at *url*; call *tend* between two looks.

    A consumer declares and binds all its queues before it consumes from the first.  Raises Unreachable after *limit*.
    """
    wanted = list(names)
    looking = Retrying(
        retry=retry_if_result(bool),
        wait=wait_fixed(_LOOK),
        stop=stop_after_delay(limit),
        before_sleep=lambda _: tend(),
    )
    with Session(url, name="clusterbus-readiness", limit=limit) as session:
        try:
            looking(_unserved, session, wanted)
        except RetryError as error:
            missing = ", ".join(_unserved(session, wanted))
            raise Unreachable(f"no consumer serves {missing} after {durations.text(limit)}") from error


def _unserved(session: Session, names: Sequence[str]) -> list[str]:
    facts = {name: session.queue_facts(queue_of(name)) for name in names}
    return [name for name, each in facts.items() if each is None or not each.consumers]
