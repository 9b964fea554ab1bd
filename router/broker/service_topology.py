"""The queues of services, as data.  A service is a program of another team that reads a queue of its own.

    clusterbus.events --- patterns ---> clusterbus.svc.NAME <--- service: NAME --- clusterbus.services    (replays)
                                                 |
                                                 v what the service gave up, and what the queue could not hold
                                     clusterbus.services.dead
                           rejected, delivery limit |   | too many
                                                    v   v
                              clusterbus.svc.NAME.dead  clusterbus.svc.NAME.missed
                                                                     |  too many: clusterbus.services.lost
                                                                     v
                                                        clusterbus.svc.NAME.lost    (only the newest)

A queue of a service never refuses an event: beyond its limit it drops the oldest, which RabbitMQ then moves to
`.missed`.  What that drops in turn only the history has; `.lost` keeps the newest of it, which says that there is some,
and up to which event.  A queue of a service is bound like a queue of others all the same, because a policy of the
broker may make any queue refuse.
"""

from __future__ import annotations

from collections.abc import Iterable

from .topology import DELIVERIES, EVENTS, UNBOUNDED, Argument, Binding, Exchange, Queue, Topology

REPLAYS = "clusterbus.services"
"""The headers exchange that leads to the queue of one service, by the header `service`; the key stays the topic."""

GIVEN_UP = "clusterbus.services.dead"
"""The headers exchange of what left the queue of a service without an acknowledgement."""

LOST = "clusterbus.services.lost"
"""The exchange of what the queues of missed events could not hold, by the name of the queue that keeps the newest."""

_PREFIX = "clusterbus.svc."
_DEAD, _MISSED, _LOST = ".dead", ".missed", ".lost"

_BY_SERVICE = ("rejected", "delivery_limit")
_BY_BROKER = ("maxlen", "expired")
"""RabbitMQ's words for why a message left a queue; a service decides about the first two."""

_LEAST = 16 * 2**20


def service_queue(service: str) -> str:
    """Return the name of the queue of *service*.

    >>> service_queue("tickets")
    'clusterbus.svc.tickets'
    """
    return f"{_PREFIX}{service}"


def dead_queue(service: str) -> str:
    """Return the name of the queue of what *service* rejected, or did not acknowledge in 20 deliveries."""
    return f"{_PREFIX}{service}{_DEAD}"


def missed_queue(service: str) -> str:
    """Return the name of the queue of what the queue of *service* could not hold."""
    return f"{_PREFIX}{service}{_MISSED}"


def lost_queue(service: str) -> str:
    """Return the name of the queue of the newest event that the queue of missed events could not hold."""
    return f"{_PREFIX}{service}{_LOST}"


def service_queues(service: str) -> tuple[str, str, str, str]:
    """Return all queues of *service*, in the order in which they are declared."""
    return lost_queue(service), missed_queue(service), dead_queue(service), service_queue(service)


def service_of(queue: str) -> str | None:
    """Return the service that *queue* belongs to, or None.

    >>> service_of("clusterbus.svc.tickets.dead"), service_of("clusterbus.sub.audit")
    ('tickets', None)
    """
    if not queue.startswith(_PREFIX):
        return None
    return queue.removeprefix(_PREFIX).partition(".")[0]


def service_exchanges() -> Topology:
    """Return the exchanges that all services share."""
    return Topology(exchanges=(Exchange(REPLAYS, "headers"), Exchange(GIVEN_UP, "headers"), Exchange(LOST, "direct")))


def service(name: str, patterns: Iterable[str], max_bytes: int) -> Topology:
    """Return the queues of service *name*, which gets the events of *patterns* and keeps *max_bytes* of them.

    Of what it missed as much is kept; of what it rejected a quarter, at least 16 MiB.  Beyond that, the oldest goes.
    """
    lost = lost_queue(name)
    to_lost: dict[str, Argument] = {"x-dead-letter-exchange": LOST, "x-dead-letter-routing-key": lost}
    main = Queue(service_queue(name), _quorum(max_bytes, DELIVERIES) | {"x-dead-letter-exchange": GIVEN_UP})
    queues = (
        Queue(lost, _quorum(_LEAST, UNBOUNDED) | {"x-max-length": 1}),
        Queue(missed_queue(name), _quorum(max_bytes, UNBOUNDED) | to_lost),
        Queue(dead_queue(name), _quorum(max(max_bytes // 4, _LEAST), UNBOUNDED)),
        main,
    )
    reasons = {dead_queue(name): _BY_SERVICE, missed_queue(name): _BY_BROKER}
    return Topology(
        queues=queues,
        bindings=(
            Binding(LOST, lost, lost),
            *(_by_reason(queue, main.name, each) for queue, words in reasons.items() for each in words),
            Binding(REPLAYS, main.name, arguments={"x-match": "all", "service": name}),
            *(Binding(EVENTS, main.name, each) for each in patterns),
        ),
    )


def _quorum(max_bytes: int, deliveries: int) -> dict[str, Argument]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": deliveries,
        "x-max-length-bytes": max_bytes,
        "x-overflow": "drop-head",
    }


def _by_reason(queue: str, source: str, reason: str) -> Binding:
    """Return the binding that gives *queue* what left the queue *source* for that *reason*.

    These headers begin with `x-`, which headers exchanges compare only where they are told to.
    """
    facts = {"x-first-death-queue": source, "x-first-death-reason": reason}
    return Binding(GIVEN_UP, queue, arguments={"x-match": "all-with-x", **facts})
