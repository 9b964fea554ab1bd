"""The state of a broker and its cluster: nodes, alarms, partitions, queues with their replicas, our programs.

Pure: from what rabbitmqctl or the management API answers, which AMQP does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import Unreachable

Rows = Iterable[Mapping[str, Any]]

QUEUE_COLUMNS = ("name", "type", "messages_ready", "messages_unacknowledged", "consumers", "members", "online")
CLIENT_COLUMNS = ("vhost", "user", "state", "client_properties")

_ALARMS = {"memory": "memory", "disk": "disk", "mem_alarm": "memory", "disk_free_alarm": "disk"}
_TRIPLE = 3


@dataclass(frozen=True, slots=True)
class BrokerNode:
    """One node of the broker's cluster, with what it is short of, and the nodes from which it is cut off."""

    name: str
    is_running: bool = True
    alarms: tuple[str, ...] = ()
    cut_off: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueDetails:
    """A queue of *kind*: its messages, its consumers, and of how many replicas how many are *online*.

    *replicas* is 0 where the queue has none, as a classic queue.
    """

    name: str
    kind: str
    ready: int
    unacknowledged: int
    consumers: int
    replicas: int
    online: int


@dataclass(frozen=True, slots=True)
class Client:
    """A connection: its *state* is `running`, `blocking` or `blocked`; *facts* are what the program tells of itself."""

    user: str
    state: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrokerState:
    """The nodes of the cluster, and the queues and clients of one virtual host.

    *unknown* says why queues and clients are not known: a broker that has just lost a node may not list them.
    """

    nodes: tuple[BrokerNode, ...]
    queues: tuple[QueueDetails, ...]
    clients: tuple[Client, ...]
    unknown: str = ""


def nodes_of_control(status: Mapping[str, Any]) -> tuple[BrokerNode, ...]:
    """Return the nodes in the answer of `rabbitmqctl cluster_status`.

    >>> nodes_of_control({"disk_nodes": ["a", "b"], "running_nodes": ["a"], "partitions": {"a": ["b"]},
    ...     "alarms": [{"node": "a", "resource": "memory"}]})[0]
    BrokerNode(name='a', is_running=True, alarms=('memory',), cut_off=('b',))
    """
    running, partitions = status.get("running_nodes") or [], status.get("partitions") or {}
    names = {*(status.get("disk_nodes") or []), *(status.get("ram_nodes") or []), *running}
    short = [(each.get("node"), each.get("resource")) for each in status.get("alarms") or [] if isinstance(each, dict)]
    return tuple(
        BrokerNode(
            name,
            name in running,
            tuple(_ALARMS.get(str(resource), str(resource)) for node, resource in short if node == name),
            tuple(partitions.get(name) or ()),
        )
        for name in sorted(names)
    )


def nodes_of_management(rows: Rows) -> tuple[BrokerNode, ...]:
    """Return the nodes in the answer of the management API."""
    return tuple(
        BrokerNode(
            str(each.get("name")),
            bool(each.get("running")),
            tuple(_ALARMS[name] for name in ("mem_alarm", "disk_free_alarm") if each.get(name)),
            tuple(each.get("partitions") or ()),
        )
        for each in rows
    )


def state_of(
    nodes: tuple[BrokerNode, ...],
    queues: Callable[[], Rows],
    clients: Callable[[], Rows],
    vhost: str,
) -> BrokerState:
    """Return the state with *nodes*, and with *queues* and *clients* of *vhost* if the broker lists them."""
    try:
        return BrokerState(nodes, queues_of(queues()), clients_of(clients(), vhost))
    except Unreachable as error:
        return BrokerState(nodes, (), (), str(error))


def queues_of(rows: Rows) -> tuple[QueueDetails, ...]:
    """Return the queues in *rows*, which both answer alike."""
    return tuple(
        QueueDetails(
            str(each.get("name")),
            str(each.get("type") or ""),
            *(_number(each.get(name)) for name in ("messages_ready", "messages_unacknowledged", "consumers")),
            *(len(each[name]) if isinstance(each.get(name), list) else 0 for name in ("members", "online")),
        )
        for each in rows
    )


def clients_of(rows: Rows, vhost: str) -> tuple[Client, ...]:
    """Return the connections to *vhost* in *rows*."""
    return tuple(
        Client(str(each.get("user")), str(each.get("state")), _facts(each.get("client_properties")))
        for each in rows
        if each.get("vhost") == vhost
    )


def _number(found: object) -> int:
    return found if isinstance(found, int) else 0


def table(found: object) -> dict[str, object]:
    """Return a table of AMQP: an object of the API, or rabbitmqctl's list of name, type and value.

    >>> table([["x-max-length", "signedint", 1]]), table({"x-max-length": 1}), table(None)
    ({'x-max-length': 1}, {'x-max-length': 1}, {})
    """
    if isinstance(found, dict):
        return found
    rows = found if isinstance(found, list) else []
    return {each[0]: each[2] for each in rows if isinstance(each, list) and len(each) == _TRIPLE}


def _facts(found: object) -> dict[str, str]:
    """Return the texts in a client's properties.

    >>> _facts([["product", "longstr", "clusterbus"], ["capabilities", "table", []]]), _facts({"product": "x", "y": {}})
    ({'product': 'clusterbus'}, {'product': 'x'})
    """
    return {str(name): value for name, value in table(found).items() if isinstance(value, str)}
