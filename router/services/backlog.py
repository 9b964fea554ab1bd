"""What the queues of a service hold, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..broker.amqp.requests import Facts
from ..broker.service_topology import dead_queue, lost_queue, missed_queue, service_queue
from ..errors import BrokerError


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
    """Return what waits for service *name*, by the *known* facts of queues, or errors instead of them.

    None if its queue or what it missed is not among them, or any of its queues is not known because of an error: a
    number that is taken for 0 would be missed events that are gone, and come back.

    >>> known = {"clusterbus.svc.a": Facts(5, 1), "clusterbus.svc.a.missed": Facts(3, 0)}
    >>> backlog("a", known)
    Backlog(messages=5, consumers=1, dead=0, missed=3, has_lost=False)
    >>> backlog("a", known | {"clusterbus.svc.a.lost": BrokerError("the connection was lost")})
    """
    found = [known.get(each(name)) for each in (service_queue, missed_queue, dead_queue, lost_queue)]
    main, missed, dead, lost = found
    is_unknown = any(isinstance(each, BrokerError) for each in found)
    if is_unknown or not isinstance(main, Facts) or not isinstance(missed, Facts):
        return None
    given_up, dropped = (each.messages if isinstance(each, Facts) else 0 for each in (dead, lost))
    return Backlog(main.messages, main.consumers, given_up, missed.messages, dropped > 0)
