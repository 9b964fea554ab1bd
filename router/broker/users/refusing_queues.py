"""Which queues refuse what is published to our exchanges, or would be taken for one of others that does.

Only the broker's facts, no connection.  A queue refuses if it has a length limit and its overflow is `reject-publish`,
by its arguments or by a policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..topology import DEAD, EVENTS, OWN_EVENTS, REJECTED, RETRY, RETURN, UNROUTED, Binding, base, queue_of
from .broker_state import table

_FROM = (EVENTS, OWN_EVENTS, REJECTED, DEAD, UNROUTED, RETRY, RETURN)
"""Where everything waits while a queue refuses, the most important first."""

COUNTS = ("messages_ready", "message_bytes_ready")
"""The broker's columns of what waits in a queue."""

_OUR_QUEUES = frozenset(each.name for each in base().queues)
_LIMITS = {"max-length": "messages", "max-length-bytes": "octets"}
_REJECTS = ("reject-publish", "reject-publish-dlx")


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue with its *arguments*, its ready *messages* and their *octets*."""

    name: str
    arguments: Mapping[str, object]
    messages: int
    octets: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> QueueState:
        """Return the queue of one row of the API or of rabbitmqctl, with its columns `name`, `arguments` and COUNTS."""
        return cls(row["name"], table(row.get("arguments")), *(row.get(name) or 0 for name in COUNTS))


@dataclass(frozen=True, slots=True)
class RefusingQueue:
    """The queue *name*, which gets messages of *exchange*, and refuses more than *limit* *unit*.

    *cause* is the policy that says so, or None if the queue's own arguments do.  *is_full* says that it refuses now.
    """

    name: str
    exchange: str
    is_ours: bool
    limit: int
    unit: str
    cause: str | None
    is_full: bool


def refusing(
    queues: Iterable[QueueState], bindings: Iterable[Binding], definitions: Mapping[str, Any], vhost: str
) -> list[RefusingQueue]:
    """Return the queues of *vhost* that refuse messages of our exchanges now or once they are full, those first.

    Policies are taken from the broker's *definitions*.
    """
    sources = _sources(list(bindings))
    policies = [each for each in definitions.get("policies", []) if each.get("vhost") == vhost]
    operators = [
        {"name": each.get("name"), **each["value"]}
        for each in definitions.get("parameters", [])
        if each.get("component") == "operator_policy" and each.get("vhost") == vhost
    ]
    found = []
    for queue in queues:
        if queue.name in sources:
            applying = [*_applying(queue.name, policies), *_applying(queue.name, operators)]
            found.append(_refusing(queue, sources[queue.name], applying))
    return sorted((each for each in found if each), key=lambda each: (not each.is_full, each.is_ours, each.name))


def left_behind(bindings: Iterable[Binding]) -> dict[str, bool]:
    """Return our queues that are still bound to `clusterbus.events`, and whether events of our own reach them too.

    Releases before there was `clusterbus.events.own` bound them so.
    """
    events = [each for each in bindings if each.exchange in (EVENTS, OWN_EVENTS) and not each.of_exchange]
    moved = {each.queue for each in events if each.exchange == OWN_EVENTS}
    stayed = {each.queue for each in events if each.exchange == EVENTS and _is_ours(each.queue)}
    return {name: name in moved for name in sorted(stayed)}


def _sources(bindings: list[Binding]) -> dict[str, str]:
    """Return, by queue, the first of our exchanges that leads to it, also by way of other exchanges."""
    found: dict[str, str] = {}
    for source in _FROM:
        reached, ahead = {source}, [source]
        while ahead:
            at = ahead.pop()
            for each in bindings:
                if each.exchange == at and each.of_exchange and each.queue not in reached:
                    reached.add(each.queue)
                    ahead.append(each.queue)
                elif each.exchange == at and not each.of_exchange:
                    found.setdefault(each.queue, source)
    return found


def _applying(queue: str, policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the one of *policies* that applies to *queue*, if any: of those that match, that of the highest priority.

    >>> _applying("ab", [{"pattern": "a"}, {"pattern": "^b"}, {"pattern": "b", "priority": 2}])
    [{'pattern': 'b', 'priority': 2}]
    """
    matching = [each for each in policies if _matches(str(each.get("pattern", "")), queue)]
    return sorted(matching, key=lambda each: -each.get("priority", 0))[:1]


def _matches(pattern: str, queue: str) -> bool:
    try:
        return re.search(pattern, queue) is not None
    except re.error:
        # RabbitMQ's regular expressions are not quite Python's.
        return False


def _refusing(queue: QueueState, exchange: str, policies: list[dict[str, Any]]) -> RefusingQueue | None:
    own = {name.removeprefix("x-"): value for name, value in queue.arguments.items()}
    # RabbitMQ 3.10 exports the definitions of operator policies as lists of pairs.
    sets = [(None, own), *((str(each.get("name")), dict(each.get("definition") or {})) for each in policies)]
    if own.get("queue-type") == "quorum":
        # There a policy wins over the argument, as far as overflow is concerned; elsewhere the argument does.
        sets.append(sets.pop(0))
    overflow = next((each["overflow"] for _, each in sets if "overflow" in each), None)
    if overflow not in _REJECTS:
        return None
    limits = [
        (value, name, cause)
        for cause, each in sets
        for name, value in each.items()
        if name in _LIMITS and isinstance(value, int)
    ]
    if not limits:
        return None

    def is_full(limit: tuple[int, str, str | None]) -> bool:
        return (queue.messages if limit[1] == "max-length" else queue.octets) >= limit[0]

    value, name, cause = min(limits, key=lambda each: (not is_full(each), each[0]))
    cause = cause or next((of for of, each in sets if "overflow" in each), None)
    return RefusingQueue(
        queue.name, exchange, _is_ours(queue.name), value, _LIMITS[name], cause, is_full((value, name, cause))
    )


def _is_ours(queue: str) -> bool:
    return queue.startswith(queue_of("")) or queue in _OUR_QUEUES
