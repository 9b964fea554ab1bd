"""The queues of services, as data.  A service is a program of another team that reads a queue of its own.

    clusterbus.events --- patterns ---> clusterbus.svc.NAME <--- service: NAME --- clusterbus.services    (replays)
                                                 |
                                                 v what the service gave up, and what the queue could not hold
                                     clusterbus.services.dead
                           rejected, delivery limit |   | too many
                                                    v   v
                              clusterbus.svc.NAME.dead  clusterbus.svc.NAME.missed

A queue of a service never refuses an event: beyond its limit it drops the oldest, which RabbitMQ then moves to
`.missed`.  It is bound like a queue of others all the same, because a policy of the broker may make any queue refuse.
"""

from __future__ import annotations

from collections.abc import Iterable

from .topology import DELIVERIES, EVENTS, UNBOUNDED, Argument, Binding, Exchange, Queue, Topology

REPLAYS = "clusterbus.services"
"""The headers exchange that leads to the queue of one service, by the header `service`; the key stays the topic."""

GIVEN_UP = "clusterbus.services.dead"
"""The headers exchange of what left the queue of a service without an acknowledgement."""

_PREFIX = "clusterbus.svc."
_DEAD, _MISSED = ".dead", ".missed"

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


def service_queues(service: str) -> tuple[str, str, str]:
    """Return all queues of *service*, in the order in which they are declared."""
    return missed_queue(service), dead_queue(service), service_queue(service)


def service_of(queue: str) -> str | None:
    """Return the service that *queue* belongs to, or None.

    >>> service_of("clusterbus.svc.tickets.dead"), service_of("clusterbus.sub.audit")
    ('tickets', None)
    """
    if not queue.startswith(_PREFIX):
        return None
    return queue.removeprefix(_PREFIX).removesuffix(_DEAD).removesuffix(_MISSED)


def service_exchanges() -> Topology:
    """Return the exchanges that all services share."""
    return Topology(exchanges=(Exchange(REPLAYS, "headers"), Exchange(GIVEN_UP, "headers")))


def service(name: str, patterns: Iterable[str], max_bytes: int) -> Topology:
    """Return the queues of service *name*, which gets the events of *patterns* and keeps *max_bytes* of them.

    Of what it missed as much is kept; of what it rejected a quarter, at least 16 MiB.  Beyond that, the oldest goes.
    """
    limits = {
        missed_queue(name): (max_bytes, UNBOUNDED),
        dead_queue(name): (max(max_bytes // 4, _LEAST), UNBOUNDED),
        service_queue(name): (max_bytes, DELIVERIES),
    }
    queues = [Queue(each, _quorum(*limits[each])) for each in service_queues(name)]
    main = queues[-1]
    queues[-1] = Queue(main.name, {**main.arguments, "x-dead-letter-exchange": GIVEN_UP})
    reasons = {dead_queue(name): _BY_SERVICE, missed_queue(name): _BY_BROKER}
    return Topology(
        queues=tuple(queues),
        bindings=(
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
