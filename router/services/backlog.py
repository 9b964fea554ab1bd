"""What the queues of a service hold, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..broker.amqp.requests import Facts
from ..broker.service_topology import dead_queue, lost_queue, missed_queue, service_queue


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for a service: ready *messages*, its *consumers*, what it gave up, and what it missed.

    *has_lost* says that the queue of missed events dropped some itself: only the history may still have them.
    """

    messages: int
    consumers: int
    dead: int = 0
    missed: int = 0
    has_lost: bool = False


def backlog(name: str, known: Mapping[str, object]) -> Backlog | None:
    """Return what waits for service *name*, by the *known* facts of queues; None if its queue is not among them.

    >>> backlog("a", {"clusterbus.svc.a": Facts(5, 1), "clusterbus.svc.a.missed": Facts(3, 0)})
    Backlog(messages=5, consumers=1, dead=0, missed=3, has_lost=False)
    """
    main = known.get(service_queue(name))
    if not isinstance(main, Facts):
        return None
    others = (known.get(each(name)) for each in (dead_queue, missed_queue, lost_queue))
    dead, missed, lost = (each.messages if isinstance(each, Facts) else 0 for each in others)
    return Backlog(main.messages, main.consumers, dead, missed, bool(lost))
